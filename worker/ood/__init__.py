"""Fitting of the out-of-distribution score."""
