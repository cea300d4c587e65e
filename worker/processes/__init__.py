"""Start, watch and end child processes; no torch."""
