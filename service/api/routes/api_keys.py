"""Routes to create, list and revoke API keys.

Once there is one, every other route requires one.
"""

import time
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core.db.tables import Key
from core.errors import Conflict
from core.model_references import NAME
from core.printable import check_name
from core.repositories import api_keys
from core.repositories.api_keys import Caller
from core.repositories.idempotency import CreatedResponse
from core.scopes import Scope
from service.api.dependencies import Service, State
from service.api.idempotency import IdempotencyKey, made
from service.security.api_keys import RequireScope, Who
from service.web.json_body import JsonRoute
from service.web.problems import DESCRIBED

router = APIRouter(
    route_class=JsonRoute,
    responses=DESCRIBED,
    prefix="/keys",
    tags=["keys"],
    dependencies=[Depends(RequireScope(Scope.ADMIN, to_read=Scope.ADMIN))],
)


AskedName = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]


class NewKey(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(check_name)] = Field(
        examples=["laptop"],
        description="Owner or purpose of the key, without control and invisible characters; names need not be unique.",
    )
    scopes: Annotated[set[Scope], FailFast()] = Field(
        min_length=1,
        max_length=4,
        description="Permissions: predict, read, train, admin; each includes those before it.",
    )
    models: set[AskedName] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="Names of the models that the key may use, with all versions; default: all. Needs the scope "
        "predict alone.",
    )

    @field_validator("models")
    @classmethod
    def _only_predicts(cls, models: set[str] | None, info: ValidationInfo) -> set[str] | None:
        if models is not None and info.data.get("scopes", {Scope.PREDICT}) != {Scope.PREDICT}:
            raise ValueError("needs the scope predict alone: the others reach every model")
        return models


class KeyView(BaseModel):
    id: str = Field(description="`key_...`, or `env:` and the name of a key from TUNESERVE_API_KEYS.")
    name: str = Field(description="Owner or purpose of the key.")
    scopes: list[Scope] = Field(description="Permissions: predict, read, train, admin; each includes those before it.")
    models: list[str] | None = Field(description="Names of the models that the key may use; null: all.")
    created_at: datetime | None = Field(description="Time of creation, UTC; null for a key from TUNESERVE_API_KEYS.")
    revoked_at: datetime | None = Field(description="Time since when it is invalid, UTC; null while it is valid.")


class MadeKey(KeyView):
    key: str = Field(description="The key itself, shown only once.")


@router.post("", status_code=201, summary="Create an API key")
async def add_key(new: NewKey, service: Service, caller: Who, idempotency_key: IdempotencyKey = None) -> MadeKey:
    """Create a key. The first one needs the scope admin.

    A second later, every route except the probes and the page requires the header `Authorization: Bearer <key>`.
    Repeating an Idempotency-Key returns 409 and the id of the key, since a key is shown only once.
    """
    shown = await run_in_threadpool(_add, service, new, caller, idempotency_key)
    await service.access.refresh(service.db)
    return shown


@router.get("", summary="List API keys, without the keys themselves")
def list_keys(service: Service) -> dict[str, list[KeyView]]:
    with service.db.read() as session:
        rows = [_shown(row) for row in api_keys.listed(session)]
    ours = [_given(caller) for caller in service.access.given.values()]
    return {"data": [KeyView.model_validate(shown) for shown in rows + ours]}


@router.delete("/{key_id}", status_code=204, summary="Revoke an API key")
async def revoke_key(
    key_id: Annotated[str, Path(description="Id of a key, `key_...`, from GET /keys")], service: Service
) -> None:
    """Revoke a key.

    409 for a key from `TUNESERVE_API_KEYS`, and for the last admin key while there are other keys.

    After the very last key is revoked, every request is rejected: set `TUNESERVE_API_KEYS` and restart the service.
    """
    await run_in_threadpool(_revoke, service, key_id)
    await service.access.refresh(service.db)


def _add(service: State, new: NewKey, caller: Caller | None, idempotency_key: str | None) -> MadeKey:
    """Create a key, once per Idempotency-Key; the key itself is never stored."""
    shown: list[MadeKey] = []

    def make(session: Session) -> CreatedResponse:
        row, key = api_keys.add(session, new.name, new.scopes, time.time(), service.access.given, new.models)
        shown.append(MadeKey.model_validate({**_shown(row), "key": key}))
        return CreatedResponse(201, {}, {"id": row.id})

    body = new.model_dump(mode="json") | {"scopes": sorted(new.scopes), "models": sorted(new.models or ())}
    answer = made(service, router.prefix, caller, idempotency_key, body, make)
    if not shown:
        made_before = answer.body["id"]
        raise Conflict(
            f"This request has made {made_before} already, and a key is shown once: revoke it, make another."
        )
    return shown[0]


def _revoke(service: State, key_id: str) -> None:
    with service.db.write() as session:
        api_keys.revoke(session, key_id, time.time(), service.access.given)


def _shown(row: Key) -> dict[str, object]:
    return {name: getattr(row, name) for name in KeyView.model_fields}


def _given(caller: Caller) -> dict[str, object]:
    scopes = sorted(caller.scopes)
    return {
        "id": caller.id,
        "name": caller.name,
        "scopes": scopes,
        "models": None,
        "created_at": None,
        "revoked_at": None,
    }
