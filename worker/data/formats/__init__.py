"""Archives, MATLAB files and IDX files."""
