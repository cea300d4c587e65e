"""Conversion of any image to the canonical image that a network takes."""
