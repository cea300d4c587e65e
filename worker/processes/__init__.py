"""Starting, watching and ending child processes; no torch."""
