"""Routes under /jobs."""
