"""HTTP client for the service: calls, and objects for what they return."""

from tuneserve.client.connection import ENDED, POLL_S
from tuneserve.client.errors import JobFailed, ServiceError, ServiceUnreachable
from tuneserve.client.jobs import Job
from tuneserve.client.main import Client
from tuneserve.client.models import Model
from tuneserve.client.predictions import UNREADABLE_IMAGE, Prediction, Predictions

__all__ = [
    "ENDED",
    "POLL_S",
    "UNREADABLE_IMAGE",
    "Client",
    "Job",
    "JobFailed",
    "Model",
    "Prediction",
    "Predictions",
    "ServiceError",
    "ServiceUnreachable",
]
