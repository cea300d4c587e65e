"""Conversion of a handwritten digit on any sheet to MNIST's form.

Works on arrays only; core.imaging.preparation handles files.
"""
