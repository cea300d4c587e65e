"""Rules for repeating a request, and the pause before it."""

import logging
from collections.abc import Mapping
from typing import Any

import httpx

MAX_TRIES = 5
MAX_PAUSES_S = 30.0  # between the tries of one request, together
BACKOFF_S = 0.25
BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
HARMLESS = ("GET", "HEAD", "PUT")  # twice does what once does
log = logging.getLogger("tuneserve")


class Retries:
    """The pauses of one request: bounded in number and in seconds."""

    def __init__(self) -> None:
        self.tries = 0
        self.paused_s = 0.0

    def backoff_s(self) -> float:
        return BACKOFF_S * float(2**self.tries)

    def pause(self, wanted_s: float | None, reason: str) -> float | None:
        """Return the seconds before the next try; None if there is none."""
        self.tries += 1
        self.paused_s += wanted_s or 0.0
        if wanted_s is None or self.tries == MAX_TRIES or self.paused_s > MAX_PAUSES_S:
            return None
        log.warning("%s; trying again in %g s", reason, wanted_s)
        return wanted_s


def wanted_pause(answer: httpx.Response) -> float | None:
    """Return the seconds that a busy service sends in Retry-After.

    None where no model can answer: to train one takes longer than all pauses.
    """
    if answer.status_code not in BUSY or (_lacks_model(answer) and _asks_a_model(answer.request)):
        return None
    wanted = answer.headers.get("retry-after", "")
    return float(wanted) if wanted.isdecimal() else None


def _lacks_model(answer: httpx.Response) -> bool:
    try:
        return bool(answer.json()["code"] == "not_ready")
    except (ValueError, KeyError, TypeError):
        return False


def _asks_a_model(request: httpx.Request) -> bool:
    return not {"predict", "embed"}.isdisjoint(request.url.path.split("/"))  # a proxy may put a prefix before it


def may_repeat(error: httpx.TransportError, method: str, options: Mapping[str, Any]) -> bool:
    """Check whether an unanswered request can be repeated without a double effect."""
    if isinstance(error, httpx.ConnectError):
        return True  # nothing was sent
    is_cut = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
    return is_cut and (method in HARMLESS or "Idempotency-Key" in options.get("headers", {}))


def rewind(options: Mapping[str, Any]) -> None:
    """Go back to the start of a file that is sent as the body."""
    content = options.get("content")
    if content is not None and hasattr(content, "seek"):
        content.seek(0)
