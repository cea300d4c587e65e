"""The command line, and the client for Python. They speak HTTP, and start the other programs as processes; they import
none of them.
"""

from tuneserve.client import Client, ServiceError, ServiceUnreachable

__all__ = ["Client", "ServiceError", "ServiceUnreachable"]
