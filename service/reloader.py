"""Keeps the served model the one that its alias names: load and warm aside, then swap in one assignment."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor

from sqlalchemy.exc import OperationalError

from core.db import Database
from core.errors import NotFound, NotReady
from core.models import SERVING, find
from core.tables import Model
from service.predictor import Predictor

log = logging.getLogger(__name__)
Load = Callable[[Model], Predictor]


class Reloader:
    """``current`` answers requests. A model that cannot be loaded leaves it in place, and ``failure`` says why."""

    def __init__(self, db: Database, load: Load, executor: Executor, poll_s: float) -> None:
        self.failure: str | None = None
        self._current: Predictor | None = None
        self._failed: str | None = None  # a model id that is not tried again
        self._db = db
        self._load = load
        self._executor = executor
        self._poll_s = poll_s

    @property
    def current(self) -> Predictor:
        if self._current is None:
            raise NotReady(self.failure or "No model has been trained yet: POST /jobs first.")
        return self._current

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.check()
            except OperationalError:
                log.warning("the database does not answer; the served model stays", exc_info=True)
            await asyncio.sleep(self._poll_s)

    async def check(self) -> None:
        """Look once, and swap if the alias names another model."""
        loop = asyncio.get_running_loop()
        wanted = await loop.run_in_executor(None, self._wanted)
        serving = self._current.model.id if self._current else None
        if wanted is None or wanted.id in (serving, self._failed):
            return
        try:
            loaded = await loop.run_in_executor(self._executor, self._load, wanted)
        except Exception as error:  # the edge of a new model: whatever is wrong with it must not stop the old one
            log.exception("%s cannot be served; %s goes on", wanted.id, serving or "nothing")
            self._failed, self.failure = wanted.id, f"{wanted.id} cannot be loaded: {error}"
            return
        self._current, self._failed, self.failure = loaded, None, None
        log.info("serving %s, version %d, in place of %s", wanted.id, wanted.version, serving or "nothing")

    def _wanted(self) -> Model | None:
        with self._db.read() as session:
            try:
                return find(session, SERVING)
            except NotFound:
                return None
