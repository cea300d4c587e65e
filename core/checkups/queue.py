"""Status changes of check-ups, each one guarded SQL statement.

A data set has one check-up, that of its newest version. The attempt number is the fencing token, like a batch's: a
process gets ClaimLost once the data set has another version, was deleted, or another attempt has begun.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db.tables import Checkup, CheckupStatus, Worker
from core.errors import ClaimLost, JobFailure, WorkerLost
from core.repositories.queues import claim_next

MAX_DEATHS = 3  # of its processes, after which a check-up has failed
RESTART_HINT = "Start a worker, then request the check-up again."


@dataclass(frozen=True)
class Claim:
    """The right of one attempt to write to a check-up."""

    dataset: str
    version: int
    attempt: int


# -- requests


def request(session: Session, dataset: str, version: int, now: float) -> Checkup:
    """Queue the check-up of a version; what was found before is forgotten.

    Unless that version waits or is checked already.
    """
    try:
        with session.begin_nested():
            session.add(
                Checkup(dataset=dataset, version=version, status=CheckupStatus.WAITING, images=0, requested_at=now)
            )
    except IntegrityError:
        anew = update(Checkup).where(
            Checkup.dataset == dataset, (Checkup.version != version) | Checkup.status.in_(_ENDED)
        )
        values = {"version": version, "requested_at": now, "deaths": 0, "images": 0}
        session.execute(anew.values(**values, **_to(CheckupStatus.WAITING)))
    session.flush()
    return session.get_one(Checkup, dataset, populate_existing=True)


def find(session: Session, dataset: str) -> Checkup | None:
    return session.get(Checkup, dataset)


def forget(session: Session, dataset: str) -> None:
    """Delete a data set's check-up."""
    session.execute(delete(Checkup).where(Checkup.dataset == dataset))


# -- the worker


def claim(session: Session, worker_id: str, now: float) -> Claim | None:
    """Claim the check-up that waits longest; None if none waits."""
    found = claim_next(
        session,
        Checkup,
        waiting=[Checkup.status == CheckupStatus.WAITING],
        order_by=[Checkup.requested_at, Checkup.dataset],
        status=CheckupStatus.RUNNING,
        worker_id=worker_id,
        attempt=Checkup.attempt + 1,
        heartbeat_at=now,
    )
    return None if found is None else Claim(found.dataset, found.version, found.attempt)


def last_heartbeat(session: Session, claim: Claim) -> float | None:
    """Return the time of the last heartbeat; None once the claim is lost."""
    return session.scalar(select(Checkup.heartbeat_at).where(*_owned(claim)))


def record(session: Session, claim: Claim, now: float, **columns: Any) -> None:
    """Record a heartbeat, and columns, of a claimed check-up.

    After ClaimLost the caller must stop and write nothing.
    """
    _write(session, claim, heartbeat_at=now, **columns)


def succeed(session: Session, claim: Claim, findings: dict[str, Any], now: float) -> None:
    record(session, claim, now, **_to(CheckupStatus.DONE, findings=findings, finished_at=now))


def fail(session: Session, claim: Claim, reason: str, now: float) -> None:
    record(session, claim, now, **_to(CheckupStatus.FAILED, error=reason, finished_at=now))


def release(session: Session, claim: Claim) -> None:
    """Let the check-up wait again; what was computed is kept."""
    _write(session, claim, **_to(CheckupStatus.WAITING))


def release_unwatched(session: Session, worker_id: str) -> list[str]:
    """Let this worker's check-ups wait again; return their names.

    To be called while the worker runs no process for them.
    """
    held = update(Checkup).where(Checkup.worker_id == worker_id, Checkup.status == CheckupStatus.RUNNING)
    released = held.values(**_to(CheckupStatus.WAITING)).returning(Checkup.dataset)
    return [_name(dataset) for dataset in session.scalars(released)]


def retry_or_fail(session: Session, claim: Claim, failure: JobFailure, now: float) -> None:
    """Let a check-up wait again after its process has died.

    MAX_DEATHS of them fail it. The row keeps the last reason.
    """
    _write(session, claim, deaths=Checkup.deaths + 1)
    if session.get_one(Checkup, claim.dataset, populate_existing=True).deaths < MAX_DEATHS:
        release(session, claim)
    else:
        fail(session, claim, f"{failure} {failure.hint}", now)


def requeue_lost(session: Session, now: float, lease_s: float) -> list[str]:
    """Requeue or fail check-ups of lost workers; return their data sets.

    A worker is lost if it sent no heartbeat within the lease.
    """
    alive = exists().where(Worker.id == Checkup.worker_id, Worker.heartbeat_at >= now - lease_s)
    silent_ones = select(Checkup).where(Checkup.status == CheckupStatus.RUNNING, ~alive)
    lost = session.scalars(silent_ones.with_for_update(skip_locked=True, of=Checkup)).all()
    for one in lost:
        failure = WorkerLost(f"Worker {one.worker_id} is lost: no heartbeat for {lease_s:g} s.", RESTART_HINT)
        retry_or_fail(session, Claim(one.dataset, one.version, one.attempt), failure, now)
    return [_name(one.dataset) for one in lost]


_ENDED = (CheckupStatus.DONE, CheckupStatus.FAILED)


def _name(dataset: str) -> str:
    return f"the check-up of {dataset}"


def _write(session: Session, claim: Claim, **columns: Any) -> None:
    ours = update(Checkup).where(*_owned(claim)).values(**columns)
    if session.execute(ours.returning(Checkup.dataset)).scalar_one_or_none() is None:
        raise ClaimLost(f"Attempt {claim.attempt} no longer owns the check-up of {claim.dataset}/{claim.version}.")


def _owned(claim: Claim) -> tuple[Any, ...]:
    """Build the conditions under which a claim still owns its check-up."""
    return (
        Checkup.dataset == claim.dataset,
        Checkup.version == claim.version,
        Checkup.attempt == claim.attempt,
        Checkup.status == CheckupStatus.RUNNING,
    )


def _to(status: CheckupStatus, **columns: Any) -> dict[str, Any]:
    """Return the columns of a status that has no process."""
    empty = {"worker_id": None, "findings": None, "error": None, "finished_at": None}
    return empty | {"status": status} | columns
