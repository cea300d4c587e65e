"""A handwritten digit on any sheet to MNIST's form. Knows arrays only; files are core.imaging.preparation's."""
