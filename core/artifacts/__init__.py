"""Files in the store: complete folders, their names, and batch inputs."""
