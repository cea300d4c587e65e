"""Compare a storm's outcome with what was requested.

The outcome is read from the rows and the files.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

from sqlalchemy import Select, select

from core.artifacts import manifest
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import ENDED, TRANSITIONS, Event, Job, JobStatus, Model
from core.settings import Settings
from tests.chaos.clients import DIGIT
from tests.chaos.storm import Storm
from tests.integration.conftest import Programs


@dataclass(frozen=True)
class Books:
    """The faults found after a storm, by kind."""

    lost: list[str]  # posted, and no row
    uncalled: list[str]  # a row that nobody posted
    stuck: list[str]  # no end
    failed: list[str]  # nothing was wrong with any of these jobs
    doubled: list[str]  # published twice, or without having succeeded
    gaps: list[str]  # an event log that is not 1, 2, 3, ...
    unheard: list[str]  # a follower saw another log than the one in the rows
    illegal: list[str]  # a way through the states that is not allowed, or more than one end
    broken: list[str]  # a model whose files are not whole
    complaints: list[str]  # of clients
    rude: list[str]  # processes that SIGTERM did not end well

    def wrong(self) -> dict[str, list[str]]:
        return {each.name: found for each in fields(self) if (found := getattr(self, each.name))}


def balance(storm: Storm) -> Books:
    settings = Settings(data_dir=storm.programs.data_dir)
    db = Database(settings.resolved_database_url)
    with db.read() as session:
        rows = {job.id: job for job in session.scalars(select(Job))}
        logs = {job_id: list(session.scalars(_log_of(job_id))) for job_id in rows}
        models = list(session.scalars(select(Model)))
    db.close()
    posted, published = set(storm.posted) - storm.deleted, Counter(model.job_id for model in models)
    followers = {job_id: heard for job_id, heard in storm.clients.listeners.items() if job_id in posted}
    succeeded = {job.id for job in rows.values() if job.status is JobStatus.SUCCEEDED}
    numbers = {job_id: [event.number for event in log] for job_id, log in logs.items()}
    return Books(
        lost=sorted(posted - set(rows)),
        uncalled=sorted(set(rows) - posted),
        stuck=[job.id for job in rows.values() if job.status not in ENDED],
        failed=[f"{job.id}: {job.error}" for job in rows.values() if job.status is JobStatus.FAILED],
        doubled=[job_id for job_id in rows if published[job_id] != (job_id in succeeded)],
        gaps=[job_id for job_id, found in numbers.items() if found != list(range(1, rows[job_id].last_event + 1))],
        unheard=[job_id for job_id, follower in followers.items() if follower.seen != numbers.get(job_id)],
        illegal=[job.id for job in rows.values() if not _is_legal(logs[job.id], job.status)],
        broken=_broken(LocalStore(settings.data_dir), models) + _silent(storm.programs, bool(succeeded)),
        complaints=storm.clients.complaints,
        rude=storm.rude,
    )


def _log_of(job_id: str) -> Select[Event]:
    return select(Event).where(Event.job_id == job_id).order_by(Event.number)


def _is_legal(log: Sequence[Event], status: JobStatus) -> bool:
    """Check that a job's log goes from queued to one end.

    Each step is an allowed one, and the row has the log's last status.
    """
    way = [JobStatus(event.data["status"]) for event in log if event.kind == "status" and "phase" not in event.data]
    steps = all(after in TRANSITIONS[before] for before, after in itertools.pairwise(way))
    return way[0] is JobStatus.QUEUED and steps and way[-1] is status


def _broken(store: LocalStore, models: Sequence[Model]) -> list[str]:
    found = []
    for model in models:
        try:
            for name in manifest.read_manifest(store, model.key)["files"]:
                manifest.fetch_checked(store, model.key, name)
        except Exception as error:  # whatever it is, the model cannot be read
            found.append(f"{model.id}: {error!r}")
    return found


def _silent(programs: Programs, has_model: bool) -> list[str]:
    """Report why /predict does not answer in the end."""
    answer = programs.http.post("/predict", content=DIGIT, headers={"Content-Type": "image/png"}, timeout=20)
    return [] if answer.is_success or not has_model else [f"/predict: {answer.text}"]
