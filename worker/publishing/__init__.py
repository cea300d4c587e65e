"""The steps that turn a trained network into a published model."""
