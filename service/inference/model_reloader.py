"""Reload each name's serving model when its alias moves.

The new version is loaded, warmed and tested aside, then swapped in by one assignment. The default name's model stays in
memory. Those of other names are loaded at the first request, follow their aliases while they are in memory,
and leave it when it is short.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.db.database import UNAVAILABLE, Database
from core.db.tables import Model
from core.errors import NotFound, NotReady
from core.inference.onnx_predictor import Predictor
from core.model_references import SERVING
from core.repositories import aliases
from core.repositories.aliases import Target
from core.repositories.models import mark_served, served_before
from service.inference.model_cache import Loaded, ModelCache

log = logging.getLogger(__name__)
NOTHING_SERVES = "No model serves yet: POST /jobs first, or PUT /models/{name}/aliases/serving."
FALLBACKS = 3  # models that served before, tried when a service starts with a target that is refused


@dataclass
class Served:
    """The model that answers for a name.

    A version that is refused leaves it in place, and ``failure`` says why.
    """

    model_id: str | None = None
    # the alias's last move that was followed or refused, and whether it was tried whatever memory it takes
    settled: tuple[tuple[str, float], bool] | None = None
    refused: str | None = None  # the id of the model that the alias names and that does not serve
    failure: str | None = None


@dataclass(frozen=True)
class _Wanted:
    """The default name and the last move of each name's `serving`.

    Both as the database has them.
    """

    default: str | None
    moves: dict[str, tuple[str, float]]


class ModelReloader:
    """Follow the aliases of names.

    ``current`` answers requests that name no model, ``named`` those that name one.
    """

    def __init__(self, db: Database, cache: ModelCache, poll_s: float, now: Callable[[], float] = time.time) -> None:
        self.default: str | None = None  # the name that answers where none is given
        self._served: dict[str, Served] = {}  # by name
        self._requested: set[str] = set()  # names whose alias was moved here: loaded even without a request
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
        served = self._served.get(self.default or "")
        if served is None or (loaded := self._loaded(served)) is None:
            raise NotReady((served.failure if served else None) or NOTHING_SERVES)
        return loaded

    @property
    def refusals(self) -> dict[str, Served]:
        """List the names whose alias points at a refused model."""
        return {name: served for name, served in self._served.items() if served.refused}

    async def named(self, name: str) -> Predictor:
        """Return the predictor of a name, loading it if needed.

        Raise NotFound if nothing serves under the name.
        """
        if name == self.default:
            return self.current  # loaded by ``check`` alone: requests do not try a refused model again
        served = self._served.get(name)
        if served and (loaded := self._loaded(served)):
            return loaded.predictor
        while True:  # again only where the alias was moved during the load
            followed = await self._follow(name, to_serve=False)
            if followed is not None:
                return followed.predictor

    def serves(self, model_id: str) -> bool:
        return any(served.model_id == model_id for served in self._served.values())

    def wake(self, name: str | None = None) -> None:
        """Check at once: an alias of this name was moved here."""
        if name is not None:
            self._requested.add(name)
        self._woken.set()

    async def run(self) -> None:
        """Follow the aliases until cancelled."""
        while True:
            try:
                await self.check()
            except UNAVAILABLE:
                log.warning("the database does not answer; the served models stay", exc_info=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._poll_s)
            self._woken.clear()

    async def check(self) -> None:
        """Follow the moved aliases, again if one moves meanwhile."""
        while True:
            wanted = await asyncio.to_thread(self._wanted)
            moved = [name for name in self._kept(wanted) if not self._is_settled(name, wanted)]
            for name in moved:
                with contextlib.suppress(NotReady, NotFound):
                    await self._follow(name, to_serve=name == wanted.default)
            self._choose_default(wanted)
            if not moved:
                return

    def _is_settled(self, name: str, wanted: _Wanted) -> bool:
        """Check whether nothing is left to try for a name.

        The default name's model is tried whatever memory it takes.
        """
        move = wanted.moves[name]
        return self._served[name].settled in ((move, True), (move, name == wanted.default))

    def _kept(self, wanted: _Wanted) -> list[str]:
        """List the names to keep: the default one and those in memory.

        Others are forgotten until they are requested.
        """
        requested = self._requested | ({wanted.default} if wanted.default else set())
        for name in requested:
            self._served.setdefault(name, Served())
        self._requested.clear()
        for name, served in list(self._served.items()):
            in_memory = self._loaded(served, use=False) is not None
            if name not in wanted.moves or not (in_memory or name in requested or served.refused):
                del self._served[name]
        return list(self._served)

    async def _follow(self, name: str, to_serve: bool) -> Loaded | None:
        """Load a name's target and swap to it.

        Return None if the alias was moved meanwhile. Raise NotReady if the target is refused and nothing else serves
        under the name.
        """
        target = await asyncio.to_thread(self._target, name)
        served = self._served.setdefault(name, Served())
        try:
            loaded = await self._cache.get(target.model, to_serve=to_serve)
        except NotReady as error:
            self._served[name] = served  # it may have been forgotten meanwhile
            served.settled, served.refused, served.failure = (target.move, to_serve), target.model.id, str(error)
            return self._loaded(served) or await self._fall_back(served, target.model, to_serve)
        latest = await asyncio.to_thread(self._target, name)
        if latest.move != target.move:  # a rollback during the load: nothing of it is seen outside
            return None
        self._served[name] = served
        self._swap(served, loaded)
        served.settled, served.refused, served.failure = (target.move, True), None, None
        await asyncio.to_thread(self._remember, target.model.id)
        return loaded

    async def _fall_back(self, served: Served, refused: Model, to_serve: bool) -> Loaded:
        """Load what served before a target that is refused.

        This happens when a service has just started. Raise NotReady if no earlier model loads either.
        """
        for model in await asyncio.to_thread(self._served_before, refused):
            with contextlib.suppress(NotReady):
                loaded = await self._cache.get(model, to_serve=to_serve)
                self._swap(served, loaded)
                return loaded
        raise NotReady(served.failure)

    def _swap(self, served: Served, loaded: Loaded) -> None:
        model = loaded.predictor.model
        served.model_id = model.id
        if model.name == self.default:
            self._cache.pin(model.id)
        log.info("serving %s/%d, %s", model.name, model.version, model.id)

    def _choose_default(self, wanted: _Wanted) -> None:
        """Follow the default name once its model is loaded.

        The model before it answers until then.
        """
        if wanted.default == self.default:
            return
        served = self._served.get(wanted.default or "")
        there = served is not None and self._loaded(served) is not None
        if there or self.default not in self._served:
            self.default = wanted.default
            if served is not None and served.model_id is not None:
                self._cache.pin(served.model_id)

    def _loaded(self, served: Served, use: bool = True) -> Loaded | None:
        return self._cache.peek(served.model_id, use) if served.model_id else None

    def _wanted(self) -> _Wanted:
        with self._db.read() as session:
            default = aliases.default_name(session)
            return _Wanted(default.name if default else None, aliases.serving_moves(session))

    def _target(self, name: str) -> Target:
        with self._db.read() as session:
            target = aliases.target(session, name, SERVING)
        if target is None:
            raise NotFound(f"No model serves under the name {name}.")
        return target

    def _served_before(self, refused: Model) -> list[Model]:
        with self._db.read() as session:
            return served_before(session, refused, FALLBACKS)

    def _remember(self, model_id: str) -> None:
        """Record the served model, for a restart whose target is refused.

        A full disk does not stop the swap.
        """
        try:
            with self._db.write() as session:
                mark_served(session, model_id, self._now())
        except UNAVAILABLE:
            log.warning("that %s serves could not be written down", model_id, exc_info=True)
