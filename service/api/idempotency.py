"""Run routes that create something once per Idempotency-Key."""

import time
from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import JSONResponse

from core.repositories import idempotency
from core.repositories.api_keys import Caller
from core.repositories.idempotency import CreatedResponse, IdempotentRequest, Make
from service.api.dependencies import State

DESCRIPTION = "Repeating a request with the same key and body within 24 hours returns the first response"
IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$", description=DESCRIPTION)
]


def create(service: State, path: str, caller: Caller | None, key: str | None, body: Any, make: Make) -> JSONResponse:
    """Answer with what ``make`` creates, in one transaction with it.

    ``body`` is the request's body as JSON.
    """
    answer = made(service, path, caller, key, body, make)
    return JSONResponse(answer.body, answer.status, dict(answer.headers))


def made(service: State, path: str, caller: Caller | None, key: str | None, body: Any, make: Make) -> CreatedResponse:
    """Create once, for a route that builds its own response.

    The arguments are those of ``create``.
    """
    if key is None:
        with service.db.write() as session:
            return make(session)
    wanted = IdempotentRequest(path, caller.id if caller else "", key, idempotency.digest(body))
    return idempotency.once(service.db, wanted, time.time(), make)
