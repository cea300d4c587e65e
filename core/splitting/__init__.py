"""Splits of images that both the service and the trainer make."""
