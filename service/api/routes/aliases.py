"""Aliases: movable names of models. Promotion and rollback are the same call."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from core.ids import is_model_id
from core.recipe import NO_NUL
from core.repositories import models
from core.repositories.models import Target
from core.scopes import Scope
from service.api.dependencies import Service
from service.api.schemas import AliasView, alias_view
from service.security.api_keys import RequireScope
from service.web.json_body import JsonRoute
from service.web.problems import DESCRIBED

router = APIRouter(
    route_class=JsonRoute,
    responses=DESCRIBED,
    prefix="/models/aliases",
    tags=["models"],
    dependencies=[Depends(RequireScope(Scope.TRAIN))],
)


def _not_taken(alias: str) -> str:
    if alias == "aliases" or is_model_id(alias):  # /models/aliases is this list; ids are looked for first
        raise ValueError('must not be "aliases" or begin with "model_"')
    return alias


Alias = Annotated[
    str,
    Path(
        pattern=r"^[a-z0-9_-]{1,64}$", description="Name of an alias; not `aliases`, nor one that begins with `model_`"
    ),
    AfterValidator(_not_taken),
]


class Aim(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        max_length=255,
        pattern=NO_NUL,
        description="Id of the model, or another alias that points at it.",
        examples=["best"],
    )


@router.get("", summary="List aliases and their models")
def list_aliases(service: Service) -> dict[str, list[AliasView]]:
    with service.db.read() as session:
        return {"data": [alias_view(name, target) for name, target in models.targets(session).items()]}


@router.put("/{alias}", summary="Point an alias at a model")
async def set_alias(alias: Alias, aim: Aim, service: Service) -> AliasView:
    """Point an alias at a model; moving `serving` is promotion or rollback.

    `/predict` uses the model of `serving`. A new one is loaded and tested first; until then, and if it fails, the old
    one keeps serving (see `/readyz`). The next job moves `serving` as its recipe's `publish` says. 409 for `latest` and
    `best`, which move automatically.
    """

    def move() -> Target:
        with service.db.write() as session:
            return models.set_alias(session, alias, aim.model, time.time())

    target = await run_in_threadpool(move)
    service.reloader.wake()
    return alias_view(alias, target)


@router.delete("/{alias}", status_code=204, summary="Delete an alias")
def delete_alias(alias: Alias, service: Service) -> None:
    """Delete an alias; 409 for `latest`, `best` and `serving`."""
    with service.db.write() as session:
        models.delete_alias(session, alias)
