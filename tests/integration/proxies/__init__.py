"""Programs that stand in front of the service."""
