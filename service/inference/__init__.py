"""Request images to predictions, and the models that make them."""
