"""Requests that the fuzzers send."""
