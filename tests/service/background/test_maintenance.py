"""service.background.maintenance: lost workers' jobs are queued again without another worker."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from core.db.database import Database
from core.db.tables import Job, JobStatus
from core.repositories import workers
from core.repositories.jobs import Claim
from core.settings import Settings
from service.background.maintenance import maintain
from tests.conftest import NOW
from tests.support.fakes import until

HOUR = 3600.0


class Clocks:
    """A settable wall clock and a monotonic one, counting reads."""

    def __init__(self) -> None:
        self.set_by = 0.0
        self.monotonic_s = 0.0
        self.reads = 0

    def wall(self) -> float:
        self.reads += 1
        return NOW + self.monotonic_s + self.set_by

    def monotonic(self) -> float:
        return self.monotonic_s

    async def looks(self, rounds: int = 3) -> None:
        """Wait until the clocks have been read a few times more."""
        enough = self.reads + 3 * rounds
        await until(lambda: self.reads >= enough)


@pytest.mark.parametrize(("jump", "outage"), [(HOUR, 0), (-HOUR, 0), (0, 13)])
async def test_a_worker_is_not_lost_because_the_clock_was_set_or_the_database_was_away_but_once_it_is_silent(
    settings: Settings,
    db: Database,
    claimed: Callable[..., Claim],
    job_of: Callable[[str], Job],
    jump: float,
    outage: float,
) -> None:
    job_id, clocks = claimed("worker_b", NOW).job_id, Clocks()
    often = settings.model_copy(update={"heartbeat_interval_s": 0.001})
    running = asyncio.create_task(maintain(db, often, clocks.wall, clocks.monotonic))
    await clocks.looks()
    clocks.set_by += jump
    clocks.monotonic_s += outage
    await clocks.looks()
    assert job_of(job_id).status is JobStatus.RUNNING
    with db.write() as session:  # before the lease after the jump is over, the worker sends its heartbeat
        workers.heartbeat(session, "worker_b", clocks.wall())
    for _ in range(9):
        clocks.monotonic_s += (settings.lease_s - 1) / 9
        await clocks.looks()
    clocks.set_by -= 0.5  # slewed, as NTP does
    await clocks.looks()
    assert job_of(job_id).status is JobStatus.RUNNING
    clocks.monotonic_s += 2
    await until(lambda: job_of(job_id).status is JobStatus.QUEUED)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
