"""The worker: it claims jobs and runs each in its own process."""
