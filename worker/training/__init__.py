"""The training loop in pure PyTorch; no database, HTTP or store."""
