"""HTTP in front, one device behind. On a CPU it imports no torch."""
