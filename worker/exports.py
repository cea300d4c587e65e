"""The one export that runs beside a worker's job. Imports no torch."""

import logging
from collections.abc import Callable
from typing import Protocol

from core import exports
from core.db import Database
from core.settings import Settings
from worker.launch import Process, not_started, start_export
from worker.stop import Stop

log = logging.getLogger(__name__)
TIMEOUT_S = 600.0  # a ResNet-50 takes half a minute on one slow core


class ExportLauncher(Protocol):
    def __call__(self, model_id: str, settings: Settings) -> Process: ...


class ExportSlot:
    """``tend`` is called again and again by the loop, whatever else it does; ``give_back`` once, at its end."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        stop: Stop,
        clock: Callable[[], float],
        launch: ExportLauncher = start_export,
    ) -> None:
        self._settings = settings
        self._db = db
        self._stop = stop
        self._clock = clock
        self._launch = launch
        self._running: tuple[str, Process, float] | None = None
        self._look_due = 0.0

    def tend(self) -> None:
        if self._stop.is_set():
            self.give_back()
        elif self._running is None:
            self._start_next()
        else:
            self._look_after(*self._running)

    def give_back(self) -> None:
        """The worker stops: the wish waits for another one."""
        if self._running is not None:
            _, process, _ = self._running
            process.kill()
            process.wait()
            self._running = None

    def _start_next(self) -> None:
        now = self._clock()
        if 0 < self._look_due - now <= self._settings.poll_s:  # more, where the clock was set back
            return
        self._look_due = now + self._settings.poll_s
        with self._db.write() as session:
            model_id = exports.begin(session)
        if model_id is not None:
            log.info("exporting %s", model_id)
            self._start(model_id, now + TIMEOUT_S)

    def _start(self, model_id: str, until: float) -> None:
        try:
            self._running = model_id, self._launch(model_id, self._settings), until
        except OSError as error:
            log.warning("no process to export %s started", model_id, exc_info=True)
            with self._db.write() as session:
                exports.failed(session, model_id, str(not_started(error)), last=False)

    def _look_after(self, model_id: str, process: Process, until: float) -> None:
        code = process.poll()
        if code is None:
            if self._clock() > until:
                process.kill()
            return
        self._running = None
        log.info("the export of %s ended with %d", model_id, code)
        if code:  # it may have said why itself; if not, it was killed
            with self._db.write() as session:
                exports.failed(session, model_id, f"its process ended with {code}", last=False)
