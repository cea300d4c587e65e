"""What the fuzzers send."""
