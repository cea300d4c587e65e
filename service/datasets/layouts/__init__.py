"""Where a data set says which image is of which class and part: folders, tables, or MNIST's IDX files."""
