"""Who may do what: the keys that are known now, and the rule that stands beside each route."""

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
REFRESH_S = 1.0  # a key that another process made or revoked is known after that


class ApiKeys:
    """The callers by their keys. Those of the database are looked up every second, not for every request.

    While the database does not answer, the keys that were known last go on being good.
    """

    def __init__(self, settings: Settings) -> None:
        self.given = api_keys.given(settings.given_keys)
        self._required = settings.keys_required
        self._known = self.given

    def identify(self, authorization: str) -> Caller | None:
        """Who sends that header; None: there are no keys, and anybody may do anything. Else Unauthorized."""
        if not self._known and not self._required:
            return None
        scheme, _, key = authorization.partition(" ")
        caller = self._known.get(api_keys.digest(key.strip())) if scheme.lower() == "bearer" else None
        if caller is None:
            raise Unauthorized("This API key is not known; it may have been revoked." if authorization else None)
        return caller

    async def refresh(self, db: Database) -> None:
        self._known = {**await run_in_threadpool(_stored, db), **self.given}

    async def run(self, db: Database) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.refresh(db)
            except SQLAlchemyError:
                log.warning("the database does not tell its API keys; the known ones go on", exc_info=True)


def _stored(db: Database) -> api_keys.Callers:
    with db.read() as session:
        return api_keys.stored(session)


class RequireScope(HTTPBearer):
    """A rule: changing anything needs that scope, and reading any key, or the scope ``to_read``.

    Without keys it lets everything through. service.security.authentication has found the caller, and refused who is
    unknown.
    """

    def __init__(self, scope: Scope, to_read: Scope | None = None) -> None:
        super().__init__(scheme_name="ApiKey", description="Only once there are keys; see `POST /keys`.")
        self._scope = scope
        self._to_read = to_read

    async def __call__(self, request: HTTPConnection) -> None:
        scope = self._to_read if request.scope["method"] in ("GET", "HEAD") else self._scope
        caller: Caller | None = request.scope["state"]["caller"]
        if caller is not None and scope is not None and not caller.may(scope):
            raise Forbidden(f"The key {caller.name} lacks the scope {scope}.")


async def _caller(request: HTTPConnection) -> Caller | None:
    caller: Caller | None = request.scope["state"]["caller"]
    return caller


Who = Annotated[Caller | None, Depends(_caller)]
