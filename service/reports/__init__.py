"""A model's evaluation report as one page for people, which needs nothing but itself."""
