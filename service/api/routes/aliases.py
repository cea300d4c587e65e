"""Routes of aliases within a name, and of the default name.

Promotion and rollback are the same call.
"""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from core.errors import NotFound
from core.model_references import ALIAS, NAME
from core.repositories import aliases
from core.repositories.aliases import Target
from core.scopes import Scope
from service.api.dependencies import Service
from service.api.parameters import Name
from service.api.schemas.models import AliasView, DefaultNameView, alias_view
from service.security.api_keys import RequireScope
from service.web.json_body import JsonRoute
from service.web.problems import DESCRIBED

router = APIRouter(
    route_class=JsonRoute,
    responses=DESCRIBED,
    prefix="/models",
    tags=["models"],
    dependencies=[Depends(RequireScope(Scope.TRAIN))],
)
Alias = Annotated[str, Path(pattern=f"^{ALIAS}$", description="1 to 64 small letters, digits, _ and -")]


class Aim(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1, lt=2**31, description="A version of the name.", examples=[3])


class Pinned(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=f"^{NAME}$", description="A name under which a model serves.", examples=["mnist"])


@router.get("/default", summary="The name that answers where none is given")
def get_default(service: Service) -> DefaultNameView:
    """The name whose models were published to last, unless one is pinned. 404 where nothing serves."""
    with service.db.read() as session:
        found = aliases.default_name(session)
    if found is None:
        raise NotFound("No model serves yet.")
    return DefaultNameView(name=found.name, pinned=found.pinned)


@router.put("/default", summary="Pin the default name")
async def pin_default(pinned: Pinned, service: Service) -> DefaultNameView:
    """`/predict` without a name answers from it from now on, whatever is published under other names."""

    def pin() -> None:
        with service.db.write() as session:
            aliases.pin_default(session, pinned.name)

    await run_in_threadpool(pin)
    service.reloader.wake()
    return DefaultNameView(name=pinned.name, pinned=True)


@router.delete("/default", status_code=204, summary="Let the default name follow publications")
async def unpin_default(service: Service) -> None:
    def unpin() -> None:
        with service.db.write() as session:
            aliases.unpin_default(session)

    await run_in_threadpool(unpin)
    service.reloader.wake()


@router.get("/{name}/aliases", summary="The aliases of a name, and the versions that they point at")
def list_aliases(name: Name, service: Service) -> dict[str, list[AliasView]]:
    with service.db.read() as session:
        return {"data": [alias_view(alias, target) for alias, target in aliases.targets(session, name).items()]}


@router.put("/{name}/aliases/{alias}", summary="Point an alias at a version")
async def set_alias(name: Name, alias: Alias, aim: Aim, service: Service) -> AliasView:
    """`serving` is what answers for the name: this promotes a version, or rolls back to one. The model is loaded and
    tested first; until then, and if it fails, the old one goes on (see `/readyz`). The next job moves `serving` as its
    recipe's `publish` says. `latest` and `best` move by themselves (409).
    """

    def move() -> Target:
        with service.db.write() as session:
            return aliases.set_alias(session, name, alias, aim.version, time.time())

    target = await run_in_threadpool(move)
    service.reloader.wake(name)
    return alias_view(alias, target)


@router.delete("/{name}/aliases/{alias}", status_code=204, summary="Forget an alias")
async def delete_alias(name: Name, alias: Alias, service: Service) -> None:
    """Without `serving` nothing answers for the name. Not `latest` and `best` (409)."""

    def forget() -> None:
        with service.db.write() as session:
            aliases.delete_alias(session, name, alias)

    await run_in_threadpool(forget)
    service.reloader.wake()
