"""Read each image's class and split from folders, tables or IDX files."""
