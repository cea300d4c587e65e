"""The loop that claims jobs and watches their processes; no torch."""
