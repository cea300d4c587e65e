"""The process that answers a batch; no torch."""
