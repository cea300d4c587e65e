"""Requested torch.export programs as work for a slot; no torch."""

from collections.abc import Callable
from dataclasses import dataclass

from core.db.database import Database
from core.errors import InternalFailure, JobFailure
from core.repositories import exports
from core.settings import Settings
from worker.processes.launcher import Process, start_export

EXPORT_TIMEOUT_S = 600.0  # a ResNet-50 takes half a minute on one slow core


@dataclass(frozen=True)
class ExportClaim:
    model_id: str
    until: float  # when its process is killed


class ExportWork:
    """Requested torch.export programs as work for a slot."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        worker_id: str,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        launch: Callable[[str, Settings], Process] = start_export,
    ) -> None:
        self._settings = settings
        self._db = db
        self._worker_id = worker_id
        self._clock = clock
        self._monotonic = monotonic
        self._launch = launch

    def claim(self) -> ExportClaim | None:
        with self._db.write() as session:
            model_id = exports.claim(session, self._worker_id, self._clock(), self._settings.lease_s)
        return None if model_id is None else ExportClaim(model_id, self._monotonic() + EXPORT_TIMEOUT_S)

    def launch(self, claim: ExportClaim) -> Process:
        return self._launch(claim.model_id, self._settings)

    def must_end(self, claim: ExportClaim) -> bool:
        return self._monotonic() > claim.until

    def record_end(self, claim: ExportClaim, code: int) -> None:
        """Record that a process was killed.

        One that failed by itself may have recorded why; that stays.
        """
        if code:
            self.record_failure(claim, InternalFailure(f"its process ended with {code}"))

    def record_failure(self, claim: ExportClaim, failure: JobFailure) -> None:
        with self._db.write() as session:
            exports.fail(session, claim.model_id, str(failure), may_retry=True)

    def release(self, claim: ExportClaim) -> None:
        with self._db.write() as session:
            exports.release(session, claim.model_id)
