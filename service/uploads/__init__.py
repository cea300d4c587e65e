"""Resumable uploads and batch inputs."""
