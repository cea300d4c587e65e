"""Identify callers by API key and check each route's scope."""

import asyncio
import logging
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPBearer
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from core.db.database import Database
from core.errors import Forbidden, Unauthorized
from core.repositories import api_keys
from core.repositories.api_keys import Caller
from core.scopes import Scope
from core.settings import Settings

log = logging.getLogger(__name__)
NO_KEY_LEFT = (
    "Every API key is revoked, and nobody is let in without one: give one in TUNESERVE_API_KEYS (name:admin:key), and "
    "start the service again."
)
REFRESH_S = 1.0  # a key that another process made or revoked is known after that


class ApiKeys:
    """The callers by their keys.

    Keys of the database are looked up every second, not for every request. Once there is a key, a request needs one;
    that all of them are revoked since does not change it. While the database does not answer, the keys that were known
    last go on being good.
    """

    def __init__(self, settings: Settings) -> None:
        self.given = api_keys.given(settings.given_keys)
        self._known = self.given
        self._needed = settings.keys_required or bool(self.given)

    def identify(self, authorization: str) -> Caller | None:
        """Return the caller of an Authorization header.

        Return None if there was never a key, so that anybody may do anything. Raise Unauthorized for a missing or wrong
        key.
        """
        if not self._needed:
            return None
        scheme, _, key = authorization.partition(" ")
        caller = self._known.get(api_keys.digest(key.strip())) if scheme.lower() == "bearer" else None
        if caller is None:
            raise Unauthorized(self._refusal(bool(authorization)))
        return caller

    def admits(self, caller: Caller | None) -> bool:
        """Check whether a caller identified earlier may still go on."""
        return caller in self._known.values() if caller else not self._needed

    def require(self, caller: Caller | None) -> None:
        """Raise Unauthorized if a caller identified earlier may not go on."""
        if not self.admits(caller):
            raise Unauthorized(self._refusal(caller is not None))

    async def refresh(self, db: Database) -> None:
        stored, exist = await run_in_threadpool(_stored, db)
        self._known = {**stored, **self.given}
        self._needed = self._needed or exist

    async def run(self, db: Database) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.refresh(db)
            except SQLAlchemyError:
                log.warning("the database does not answer: the API keys known so far stay valid", exc_info=True)

    def _refusal(self, has_key: bool) -> str | None:
        if not self._known:
            return NO_KEY_LEFT
        return "This API key is not known; it may have been revoked." if has_key else None


def _stored(db: Database) -> tuple[api_keys.Callers, bool]:
    with db.read() as session:
        return api_keys.stored(session), api_keys.exist(session)


class RequireScope(HTTPBearer):
    """A rule: changing anything needs that scope, and reading the scope ``to_read``.

    Without keys it lets everything through. service.security.authentication has found the caller, and refused who is
    unknown.
    """

    def __init__(self, scope: Scope, to_read: Scope = Scope.READ) -> None:
        super().__init__(scheme_name="ApiKey", description="Only once there are keys; see `POST /keys`.")
        self._scope = scope
        self._to_read = to_read

    def needed_for(self, method: str) -> Scope:
        return self._to_read if method in ("GET", "HEAD") else self._scope

    async def __call__(self, request: HTTPConnection) -> None:
        scope = self.needed_for(request.scope["method"])
        caller: Caller | None = request.scope["state"]["caller"]
        if caller is not None and not caller.may(scope):
            raise Forbidden(f"The key {caller.name} lacks the scope {scope}.")


async def caller_of(request: HTTPConnection) -> Caller | None:
    caller: Caller | None = request.scope["state"]["caller"]
    return caller


Who = Annotated[Caller | None, Depends(caller_of)]
