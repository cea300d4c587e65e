"""Keeps the served model the one that its alias names: loaded, warmed and tested aside, then one assignment."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from sqlalchemy.exc import OperationalError

from core.db.database import Database
from core.db.tables import Model
from core.errors import NotReady
from core.inference.onnx_predictor import Predictor
from core.repositories.models import SERVING, Target, mark_served, served_before, target
from service.inference.model_cache import Loaded, ModelCache

log = logging.getLogger(__name__)
NOTHING_SERVES = "No model serves yet: POST /jobs first, or PUT /models/aliases/serving."
FALLBACKS = 3  # models that served before, tried when a service starts with a target that is refused


class ModelReloader:
    """``current`` answers requests. A model that is refused leaves it in place, and ``failure`` says why."""

    def __init__(self, db: Database, cache: ModelCache, poll_s: float, now: Callable[[], float] = time.time) -> None:
        self.failure: str | None = None
        self.refused: str | None = None  # the id of the model that the alias names and that does not serve
        self._current: Loaded | None = None
        self._settled: tuple[str, float] | None = None  # the alias's last move that was followed or refused
        self._woken = asyncio.Event()
        self._db = db
        self._cache = cache
        self._poll_s = poll_s
        self._now = now

    @property
    def current(self) -> Predictor:
        return self.loaded.predictor

    @property
    def loaded(self) -> Loaded:
        if self._current is None:
            raise NotReady(self.failure or NOTHING_SERVES)
        return self._current

    def serves(self, model_id: str) -> bool:
        return self._current is not None and self._current.predictor.model.id == model_id

    def wake(self) -> None:
        """Look at once: the alias was moved here."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.check()
            except OperationalError:
                log.warning("the database does not answer; the served model stays", exc_info=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._poll_s)
            self._woken.clear()

    async def check(self) -> None:
        """Look, and swap if the alias was moved; again if it was moved meanwhile."""
        while (wanted := await asyncio.to_thread(self._wanted)) and wanted.move != self._settled:
            await self._follow(wanted)

    async def _follow(self, wanted: Target) -> None:
        try:
            loaded = await self._cache.get(wanted.model, to_serve=True)
        except NotReady as error:
            self._settled, self.refused, self.failure = wanted.move, wanted.model.id, str(error)
            if self._current is None:
                await self._fall_back(wanted.model.id)
            return
        latest = await asyncio.to_thread(self._wanted)
        if latest is None or latest.move != wanted.move:  # a rollback during the load: nothing of it is seen outside
            return
        self._swap(loaded)
        self._settled, self.refused, self.failure = wanted.move, None, None
        await asyncio.to_thread(self._remember, wanted.model.id)

    async def _fall_back(self, refused: str) -> None:
        """A service that has just started with a target that is refused: what served before it goes on."""
        for model in await asyncio.to_thread(self._served_before, refused):
            with contextlib.suppress(NotReady):
                self._swap(await self._cache.get(model, to_serve=True))
                return

    def _swap(self, loaded: Loaded) -> None:
        model = loaded.predictor.model
        self._current = loaded
        self._cache.pin(model.id)
        log.info("serving %s, version %d", model.id, model.version)

    def _wanted(self) -> Target | None:
        with self._db.read() as session:
            return target(session, SERVING)

    def _served_before(self, refused: str) -> list[Model]:
        with self._db.read() as session:
            return served_before(session, refused, FALLBACKS)

    def _remember(self, model_id: str) -> None:
        """Record the served model, for a restart whose target is refused.

        A full disk does not stop the swap.
        """
        try:
            with self._db.write() as session:
                mark_served(session, model_id, self._now())
        except OperationalError:
            log.warning("that %s serves could not be written down", model_id, exc_info=True)
