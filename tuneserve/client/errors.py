"""Errors that the client raises."""

from typing import Any

import httpx

from tuneserve.types import Job


class ServiceError(Exception):
    """The service rejected a request or is not reachable.

    The message is for people.
    """

    status = 0  # HTTP status; 0 without a response
    errors: tuple[dict[str, Any], ...] = ()  # the single errors, if the service lists them


class ServiceUnreachable(ServiceError):
    """No service answers at the URL."""


class JobFailed(ServiceError):
    """A job ended without a model; ``job`` is the job as it ended."""

    def __init__(self, job: Job) -> None:
        self.job = job
        said = f": {job.error['message']} {job.error['hint']}" if job.error else ""
        super().__init__(f"{job.id} {'was cancelled' if job.status == 'cancelled' else 'failed'}{said}")


def refusal(answer: httpx.Response) -> ServiceError:
    """Return the error that a response with an error status describes."""
    hint = " The command line reads its key from TUNESERVE_API_KEY." if answer.status_code == 401 else ""
    error = ServiceError(_detail(answer) + hint)
    error.status, error.errors = answer.status_code, _errors(answer)
    return error


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}: {answer.text[:200]}"


def _errors(answer: httpx.Response) -> tuple[dict[str, Any], ...]:
    try:
        return tuple(answer.json()["errors"])
    except (ValueError, KeyError, TypeError):
        return ()
