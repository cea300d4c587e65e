"""A prediction that asks for nothing special goes past the router and all that FastAPI does for each request."""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import TuneserveError
from service import problems

PATH, TIMEOUT = "/predict", b"x-timeout-ms"


class Shortcut:
    """``answer`` is what ``route`` answers to requests that say nothing but what their body holds."""

    def __init__(self, app: ASGIApp, route: BaseRoute, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._app = app
        self._route = route
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST" or _says_more(scope):
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route  # by which the request is counted and traced
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except (TuneserveError, HTTPException) as error:
            response = problems.answer_to_any(request, error)
        await response(scope, receive, send)


def _says_more(scope: Scope) -> bool:
    return bool(scope["query_string"]) or any(name == TIMEOUT for name, _ in scope["headers"])
