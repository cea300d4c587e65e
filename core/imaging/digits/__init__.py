"""A handwritten digit on any sheet -> the form of MNIST's images. Knows arrays only; files are
core.imaging.preparation's.
"""
