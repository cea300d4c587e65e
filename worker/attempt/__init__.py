"""One attempt of a job: set-up, "auto" values, checkpoints, progress."""
