"""Queries and guarded statements, one noun of the domain per file."""
