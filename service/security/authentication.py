"""Authenticate, check and rate-limit a request before its body is read.

The checks are of Host and Origin.
"""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import InvalidInput, TuneserveError
from core.repositories.api_keys import Caller
from service.security.allowed_hosts import AllowedHosts
from service.security.api_keys import ApiKeys
from service.security.rate_limit import RateLimit
from service.security.same_origin import SameOrigin
from service.web import problems
from service.web.asgi import header

OPEN = frozenset(
    {
        "/livez",
        "/readyz",
        "/v2/health/live",
        "/v2/health/ready",
        "/",
        "/docs",
        "/openapi.json",
    }
)
OPEN_FOLDERS = ("/page/", "/static-offline-docs/")  # what the page and /docs consist of


class Authentication:
    """Require a caller for every path that is not open.

    Unknown paths need one too, so that nothing is open by mistake.
    """

    def __init__(
        self, app: ASGIApp, access: ApiKeys, hosts: AllowedHosts, origin: SameOrigin, rate_limit: RateLimit | None
    ) -> None:
        self._app = app
        self._access = access
        self._hosts = hosts
        self._origin = origin
        self._rate_limit = rate_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            try:
                scope.setdefault("state", {})["caller"] = None if is_open(scope["path"]) else self._admit(scope)
            except TuneserveError as error:
                app = problems.answer_to(Request(scope), error)
        await app(scope, receive, send)

    def _admit(self, scope: Scope) -> Caller | None:
        """Identify the caller, check its request and count it.

        Callers without a good key count by address, so that guessing is slow too.
        """
        caller: Caller | None = None
        try:
            caller = self._access.identify(header(scope, b"authorization"))
            self._hosts.check(header(scope, b"host"), has_key=caller is not None)
            if caller is None:
                self._origin.check(scope)
            _refuse_nul(scope)
        finally:
            if self._rate_limit is not None:
                self._rate_limit.take(caller.id if caller else _address(scope))
        return caller


def is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_FOLDERS)


def _refuse_nul(scope: Scope) -> None:
    """Refuse the character NUL in path and query.

    No name has one, and PostgreSQL cannot even look for it.
    """
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        raise InvalidInput("A path or a query cannot hold the character NUL (%00).")


def _address(scope: Scope) -> str:
    return str(scope["client"][0]) if scope.get("client") else "unknown"
