"""Code shared by service and worker: rows, files, settings, inference.

It holds no loops, threads or entry points.
"""
