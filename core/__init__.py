"""What every process must agree on: rows, files, words. No loops, threads or entry points here."""
