"""Readers of what gives an image its class and split: folders, tables, or MNIST's IDX files."""
