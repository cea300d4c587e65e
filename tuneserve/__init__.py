"""The command line and the Python client.

They use the service over HTTP and start the other programs as processes, but import none of them.
"""

from tuneserve.client import Client, Job, JobFailed, Model, Prediction, Predictions, ServiceError, ServiceUnreachable

__all__ = ["Client", "Job", "JobFailed", "Model", "Prediction", "Predictions", "ServiceError", "ServiceUnreachable"]
