"""Queries and guarded statements, one table or topic per file."""
