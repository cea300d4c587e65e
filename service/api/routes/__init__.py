"""The HTTP contract, one file a noun."""
