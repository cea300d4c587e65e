"""Recipes: what POST /jobs takes, and their presets."""
