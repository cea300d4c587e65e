"""The process of a batch prediction; no torch."""
