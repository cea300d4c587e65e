"""HTTP client for the service, one method per call."""

from tuneserve.client.connection import ENDED, POLL_S
from tuneserve.client.errors import ServiceError, ServiceUnreachable
from tuneserve.client.main import Client
from tuneserve.client.predictions import UNREADABLE_IMAGE

__all__ = ["ENDED", "POLL_S", "UNREADABLE_IMAGE", "Client", "ServiceError", "ServiceUnreachable"]
