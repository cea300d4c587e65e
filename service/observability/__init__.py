"""Metrics, traces and health checks."""
