"""Hand the routes what `create_app` built."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from core.artifacts.store import ArtifactStore
from core.db.database import Database
from core.db.tables import Model
from core.ids import is_model_id
from core.inference.onnx_predictor import Predictor
from core.model_references import parse
from core.repositories.models import find_whole
from core.settings import Settings
from service.api.open_inference.statistics import Statistics
from service.datasets.builder import Builder
from service.inference.model_cache import ModelCache
from service.inference.model_reloader import ModelReloader
from service.inference.pipeline import Pipeline
from service.observability.health_checks import DatabaseCheck, StoreCheck
from service.observability.metrics import Metrics
from service.security.api_keys import ApiKeys

if TYPE_CHECKING:
    from service.api.listeners import Listeners
    from service.security.outbound_client import OutboundClient  # imports httpx: see service.lifespan


@dataclass(frozen=True)
class State:
    settings: Settings
    db: Database
    store: ArtifactStore
    cache: ModelCache
    reloader: ModelReloader
    pipeline: Pipeline
    metrics: Metrics
    access: ApiKeys
    database_check: DatabaseCheck
    store_check: StoreCheck
    statistics: Statistics
    outbound: "OutboundClient | None"  # only where images are fetched by URL
    builder: Builder
    listeners: "Listeners"
    stopping: asyncio.Event  # set when the server begins to stop

    async def predictor(self, reference: str | None) -> Predictor:
        """Return the predictor of a reference or of the default name.

        Raise NotFound for an unknown reference, Conflict when the model's files were deleted, NotReady when it cannot
        be loaded.
        """
        if reference is None:
            return self.reloader.current
        if not is_model_id(reference) and (named := parse(reference)).serves:
            return await self.reloader.named(named.name)
        return (await self.cache.get(await run_in_threadpool(self._find, reference))).predictor

    def _find(self, reference: str) -> Model:
        with self.db.read() as session:
            return find_whole(session, reference)


async def state_of(request: Request) -> State:  # async: FastAPI would call anything else in a thread of its own
    state: State = request.app.state.service
    return state


Service = Annotated[State, Depends(state_of)]
