"""A person's own data set: what was sent -> a folder that the trainer loads, and a report of all that was wrong."""
