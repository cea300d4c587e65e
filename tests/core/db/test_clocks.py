"""core.db.clocks: leases across machines whose clocks differ."""

from collections.abc import Callable, Iterator

import pytest

from core.db.database import Database
from core.db.tables import Job, JobStatus
from core.repositories import jobs
from core.repositories.jobs import Claim
from core.settings import Settings
from tests.conftest import NOW, url_of
from tests.support.fakes import FakeLauncher, FakeProcess
from worker.supervisor.loop import WorkerLoop

HOUR = 3600.0


@pytest.fixture(params=[pytest.param("postgresql", marks=pytest.mark.server)])
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


def test_a_worker_on_a_machine_whose_clock_differs_is_not_taken_for_lost(
    db: Database, settings: Settings, enqueue: Callable[..., Job], job_of: Callable[[str], Job]
) -> None:
    job_id = enqueue().id
    slow = WorkerLoop(settings, db, FakeLauncher([FakeProcess(alive=3)]), lambda: NOW - HOUR, monotonic=lambda: 0.0)
    fast = WorkerLoop(settings, db, FakeLauncher([]), lambda: NOW + HOUR, monotonic=lambda: 0.0)
    for worker in (slow, fast):
        worker._register()
    with db.write() as session:
        assert jobs.claim(session, slow.id, NOW - HOUR) == Claim(job_id, 1)
    fast._heartbeat()
    assert job_of(job_id).status is JobStatus.RUNNING
