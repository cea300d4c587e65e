"""SQLite under pressure: 16 processes claim and end the same jobs.

They share one file.
"""

import multiprocessing
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sqlalchemy import func, select

from core.db.database import Database
from core.db.tables import Event, Job, JobStatus, Worker
from core.recipes.recipe import Recipe
from core.repositories import jobs, workers
from core.settings import Settings

PROCESSES = 16
JOBS = int(os.environ.get("TEST_PRESSURE_JOBS", "160"))
DONE = {"code": "internal", "message": "done", "hint": "", "traceback_tail": ""}
EVENTS = 3  # of each job: queued, running, failed


def work(url: str, number: int) -> list[str]:
    """Run one process's share of jobs; return the ids it claimed.

    It adds its share, claims what it can get, and ends that.
    """
    db = Database(url)
    me = f"worker_{number}"
    with db.write() as session:
        workers.register(
            session, Worker(id=me, host="here", pid=os.getpid(), started_at=time.time(), heartbeat_at=time.time())
        )
    for _ in range(number, JOBS, PROCESSES):
        with db.write() as session:
            jobs.enqueue(session, Recipe(), time.time(), queue_limit=JOBS)
    mine = list(iter(lambda: run_one(db, me), ""))
    db.close()
    return mine


def run_one(db: Database, me: str) -> str:
    """Claim and end a job; return its id, empty if none waits."""
    with db.write() as session:
        claim = jobs.claim(session, me, time.time())
    if claim is None:
        return ""
    with db.write() as session:
        workers.heartbeat(session, me, time.time())
        jobs.heartbeat(session, claim, time.time())
    with db.write() as session:
        jobs.fail(session, claim, DONE, time.time())
    return claim.job_id


def test_sixteen_processes_claim_every_job_once_and_none_hears_of_a_lock(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    db = Database(settings.resolved_database_url)
    db.migrate()
    starts = multiprocessing.get_context("forkserver")
    starts.set_forkserver_preload([__name__])  # imported once for all of them
    with ProcessPoolExecutor(PROCESSES, starts) as processes:
        running = [processes.submit(work, settings.resolved_database_url, number) for number in range(PROCESSES)]
        claimed = [job_id for each in running for job_id in each.result()]  # raises what a process raised
    with db.read() as session:
        statuses = Counter(session.scalars(select(Job.status)))
        logs = session.execute(select(func.count(), func.max(Event.number)).group_by(Event.job_id)).all()
        ended = set(session.scalars(select(Job.id)))
    db.close()
    assert len(claimed) == len(set(claimed)) == JOBS
    assert set(claimed) == ended
    assert statuses == {JobStatus.FAILED: JOBS}
    assert logs == [(EVENTS, EVENTS)] * JOBS
