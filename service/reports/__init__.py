"""Draw a model's evaluation report as one self-contained page."""
