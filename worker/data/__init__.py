"""Splits, augmentation and streaming of training images."""
