"""Errors, headers and shutdown, independent of the routes."""
