"""Status changes of jobs, each one guarded SQL statement.

They are enqueue, claim, heartbeat, record and finish.

The attempt number is the fencing token. A claim increments it; a process names the attempt it claimed and gets
ClaimLost once the job has a later one. Callers pass the session, and so choose what else is in the transaction.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.orm import Session

from core.db.tables import ENDED, OWNED, TRANSITIONS, Job, JobStatus, Worker
from core.errors import ClaimLost, InvalidInput, JobFailure, NotFound, OutOfMemory, WeightsUnavailable, WorkerLost
from core.ids import new_id
from core.recipes.recipe import UNTRAINED, Recipe
from core.repositories import datasets, events, models
from core.repositories.queues import claim_next, require_room

RETRY_AFTER_S = 600.0  # after a failed download of weights, until another is thought likely to succeed


@dataclass(frozen=True)
class Claim:
    """The right of one attempt to write to a job.

    It ends when a later attempt claims the job.
    """

    job_id: str
    attempt: int


# -- requests from people


def enqueue(
    session: Session,
    recipe: Recipe,
    now: float,
    queue_limit: int,
    owner: str | None = None,
    owner_limit: int | None = None,
    retry_of: str | None = None,
) -> Job:
    """Write a queued job and its first event.

    Overloaded if ``queue_limit`` jobs are queued, or ``owner_limit`` of the owner's. ``retry_of``: the job whose
    checkpoints it resumes from.
    """
    require_room(session, Job, queue_limit, owner, owner_limit)
    recipe = recipe.model_copy(update={"dataset": _version_of(session, recipe)})
    if recipe.weights not in UNTRAINED:
        recipe = recipe.model_copy(update={"weights": _weights_of(session, recipe)})
    job = Job(
        id=new_id("job", now),
        status=JobStatus.QUEUED,
        owner=owner,
        recipe=recipe.model_dump(mode="json"),
        priority=recipe.priority,
        created_at=now,
        retry_of=retry_of,
    )
    session.add(job)
    session.flush()
    events.append(session, job.id, "status", {"status": JobStatus.QUEUED}, now)
    return job


def _version_of(session: Session, recipe: Recipe) -> str:
    """Return the current version of an uploaded data set, as `pets/2`.

    Data sets that were not uploaded have none and keep their name.
    """
    try:
        return datasets.held(session, recipe.dataset)
    except NotFound as error:
        raise InvalidInput(str(error), pointer="/dataset") from error


def _weights_of(session: Session, recipe: Recipe) -> str:
    """Return the id of the model that the recipe's weights name."""
    try:
        model = models.find(session, recipe.weights)
    except NotFound as error:
        raise InvalidInput(str(error), pointer="/weights") from error
    if model.card["network"] != recipe.network:
        raise InvalidInput(
            f"{model.id} is a {model.card['network']} and the recipe's network is {recipe.network}: name the same one.",
            pointer="/weights",
        )
    return model.id


def get(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def page(
    session: Session, status: JobStatus | None, dataset: str | None, after: str | None, limit: int
) -> tuple[list[Job], bool]:
    """List jobs, newest first, and whether more follow.

    ``after`` is the id of the previous page's last job.
    """
    query = select(Job).order_by(Job.id.desc()).limit(limit + 1)
    if status is not None:
        query = query.where(Job.status == status)
    if dataset is not None:
        query = query.where(_trains_on(dataset))
    if after is not None:
        query = query.where(Job.id < after)
    found = list(session.scalars(query))
    return found[:limit], len(found) > limit


def on_dataset(session: Session, dataset: str, statuses: Collection[JobStatus]) -> list[str]:
    """List the ids of jobs that train on a data set.

    ``dataset`` may name a version too. Only jobs with one of these statuses.
    """
    found = select(Job.id).where(_trains_on(dataset), Job.status.in_(statuses))
    return list(session.scalars(found.order_by(Job.id)))


def _trains_on(dataset: str) -> ColumnElement[bool]:
    named = Job.recipe["dataset"].as_string()
    return or_(named == dataset, named.startswith(f"{dataset}/", autoescape=True))


def networks_without_weights(session: Session, now: float) -> set[str]:
    """Name the networks whose pre-trained weights were lately unavailable.

    A job has failed to get them within the last RETRY_AFTER_S.
    """
    failed = Job.error["code"].as_string() == WeightsUnavailable.code
    of_imagenet = Job.recipe["weights"].as_string() == "imagenet"
    query = select(Job.recipe["network"].as_string()).where(
        Job.status == JobStatus.FAILED, Job.finished_at >= now - RETRY_AFTER_S, failed, of_imagenet
    )
    return set(session.scalars(query))


def count_by_status(session: Session) -> dict[JobStatus, int]:
    """Count the jobs of every status, zeros included."""
    counted = session.execute(select(Job.status, func.count()).group_by(Job.status))
    return dict.fromkeys(JobStatus, 0) | dict(counted.all())


# -- the worker


def claim(session: Session, worker_id: str, now: float) -> Claim | None:
    """Claim the queued job of highest priority, the oldest among equals.

    None if none is queued.
    """
    job = claim_next(
        session,
        Job,
        waiting=[Job.status == JobStatus.QUEUED],
        order_by=[Job.priority.desc(), Job.created_at, Job.id],
        status=JobStatus.RUNNING,
        worker_id=worker_id,
        attempt=Job.attempt + 1,
        started_at=func.coalesce(Job.started_at, now),
        claimed_at=now,
        heartbeat_at=now,
        requested_action=None,
        phase=None,
        phases=[],
        progress={},
        estimated_finish=None,
    )
    if job is None:
        return None
    events.append(session, job.id, "status", {"status": JobStatus.RUNNING, "attempt": job.attempt}, now)
    return Claim(job.id, job.attempt)


def heartbeat(session: Session, claim: Claim, now: float) -> Job:
    """Record a heartbeat and return the job, with its requested action.

    After ClaimLost the caller must stop and write nothing.
    """
    return _owned(session, claim, heartbeat_at=now)


def record(session: Session, claim: Claim, **columns: Any) -> None:
    """Set columns of a job that the claim still owns; ClaimLost otherwise."""
    _owned(session, claim, **columns)


def succeed(session: Session, claim: Claim, model_id: str, now: float, **columns: Any) -> None:
    """End the job with a model.

    One that was cancelled with keep ends as cancelled, with its model.
    """
    done = {"model_id": model_id, "finished_at": now, **columns}
    if move(session, claim.job_id, JobStatus.SUCCEEDED, now, claim=claim, **done):
        return
    keeps = _owned(session, claim).requested_action == "keep"
    if not (keeps and move(session, claim.job_id, JobStatus.CANCELLED, now, claim=claim, **done)):
        raise ClaimLost(f"Attempt {claim.attempt} came too late to end {claim.job_id} with a model.")


def fail(session: Session, claim: Claim, error: dict[str, Any], now: float) -> None:
    """End the job as failed.

    It ends as cancelled if a person has cancelled it.
    """
    if not move(
        session, claim.job_id, JobStatus.FAILED, now, claim=claim, detail={"error": error}, error=error, finished_at=now
    ):
        cancelled(session, claim, now)


def cancelled(session: Session, claim: Claim, now: float) -> None:
    _finish(session, claim, JobStatus.CANCELLED, now)


def release(session: Session, claim: Claim, reason: str, now: float, ran_s: float | None = None) -> None:
    """Requeue a running job, to continue from its last checkpoint.

    A job with a requested pause is paused instead, and a cancelling one is cancelled. ``ran_s``: how long the attempt
    ran, where its worker measured it; otherwise the clock says it, which may have been set meanwhile.
    """
    target = JobStatus.PAUSED if _owned(session, claim).requested_action == "pause" else JobStatus.QUEUED
    if not move(
        session,
        claim.job_id,
        target,
        now,
        claim=claim,
        only_from={JobStatus.RUNNING},
        detail={"reason": reason},
        worker_id=None,
        requested_action=None,
        ran_s=Job.ran_s + (now - func.coalesce(Job.claimed_at, now) if ran_s is None else ran_s),
    ):
        cancelled(session, claim, now)


def release_unwatched(session: Session, worker_id: str, now: float) -> list[str]:
    """Requeue this worker's owned jobs; return their ids.

    To be called while the worker watches no trainer. The connection broke between the commit of the claim and the
    database's answer.
    """
    held = select(Job).where(Job.worker_id == worker_id, Job.status.in_(OWNED))
    found = session.scalars(held).all()
    for job in found:
        release(session, Claim(job.id, job.attempt), "the worker's claim got no answer from the database", now)
    return [job.id for job in found]


def is_over_time(job: Job, ran_s: float) -> bool:
    """Check whether a job has exceeded its recipe's time limit.

    ``ran_s``: seconds that this attempt has run.
    """
    limit = Recipe.model_validate(job.recipe).time_limit_s
    return limit is not None and job.ran_s + ran_s > limit


def retry_or_fail(session: Session, claim: Claim, failure: JobFailure, now: float, ran_s: float | None = None) -> None:
    """Requeue a job after a failed attempt, or fail it.

    It fails if no attempts are left. ``ran_s`` as for ``release``.
    """
    error = describe(failure)
    job = _owned(session, claim, failures=Job.failures + 1)
    if isinstance(failure, OutOfMemory):
        record(session, claim, out_of_memory_attempts=[*job.out_of_memory_attempts, claim.attempt])
    if job.failures < Recipe.model_validate(job.recipe).max_attempts:
        release(session, claim, f"{error['code']}: {error['message']}", now, ran_s)
    else:
        fail(session, claim, error, now)


def count_out_of_memory(session: Session, job_id: str, since: int) -> int:
    """Count the attempts, from ``since`` on, that ran out of memory."""
    return sum(attempt >= since for attempt in get(session, job_id).out_of_memory_attempts)


def requeue_lost(session: Session, now: float, lease_s: float) -> list[str]:
    """Requeue or fail jobs of lost workers; return their ids.

    A worker is lost if it sent no heartbeat within the lease. Safe to call concurrently: rows locked by another caller
    are skipped and retried on the next call.
    """
    alive = exists().where(Worker.id == Job.worker_id, Worker.heartbeat_at >= now - lease_s)
    silent_ones = select(Job).where(Job.status.in_(OWNED), ~alive)
    lost = session.scalars(silent_ones.with_for_update(skip_locked=True, of=Job)).all()
    for job in lost:
        worker = session.get(Worker, job.worker_id) if job.worker_id else None
        silent = f"last heartbeat {now - worker.heartbeat_at:.1f} s ago" if worker else "not registered"
        failure = WorkerLost(f"Worker {job.worker_id} is lost: {silent}.")
        retry_or_fail(session, Claim(job.id, job.attempt), failure, now)
    return [job.id for job in lost]


def describe(failure: JobFailure, traceback_tail: str = "") -> dict[str, Any]:
    """Build the error of a job's row."""
    return {
        "code": failure.code,
        "message": str(failure),
        "hint": failure.hint,
        "traceback_tail": traceback_tail,
    }


# -- the guarded statements


def _owned(session: Session, claim: Claim, **columns: Any) -> Job:
    """Update and return a job that the claim still owns.

    ClaimLost if it owns it no more.
    """
    job = session.execute(
        update(Job)
        .where(Job.id == claim.job_id, Job.attempt == claim.attempt, Job.status.in_(OWNED))
        .values(attempt=Job.attempt, **columns)
        .returning(Job)
        .execution_options(populate_existing=True)
    ).scalar_one_or_none()
    if job is None:
        raise ClaimLost(f"Attempt {claim.attempt} no longer owns {claim.job_id}.")
    return job


def _finish(session: Session, claim: Claim, to: JobStatus, now: float, **columns: Any) -> None:
    if not move(session, claim.job_id, to, now, claim=claim, finished_at=now, **columns):
        raise ClaimLost(f"Attempt {claim.attempt} came too late to end {claim.job_id} as {to}.")


def move(
    session: Session,
    job_id: str,
    to: JobStatus,
    now: float,
    *,
    claim: Claim | None = None,
    only_from: Collection[JobStatus] | None = None,
    detail: dict[str, Any] | None = None,
    **columns: Any,
) -> bool:
    """Change the status if the transition is allowed, with its event.

    False if it is not, or if the row was not as expected.
    """
    sources = {status for status, following in TRANSITIONS.items() if to in following}
    guarded = update(Job).where(Job.id == job_id, Job.status.in_(sources & set(only_from or sources)))
    if claim is not None:  # the status too: a requeued job keeps its attempt number but has no owner
        guarded = guarded.where(Job.attempt == claim.attempt, Job.status.in_(OWNED))
    changed = guarded.values(status=to, **columns).returning(Job).execution_options(populate_existing=True)
    moved = session.execute(changed).scalar_one_or_none()
    if moved is None:
        return False
    if to not in OWNED:
        _round_off(moved, now)
    events.append(session, job_id, "status", {"status": to, **(detail or {})}, now)
    return True


def _round_off(job: Job, now: float) -> None:
    """Close the phase and timing that a killed trainer left open."""
    job.estimated_finish = None
    if job.phases and job.phases[-1]["ended_at"] is None:
        job.phases = [*job.phases[:-1], job.phases[-1] | {"ended_at": now}]
    if job.status not in ENDED:
        job.phase = None
    elif job.worker_id is not None and job.claimed_at is not None:  # an attempt has ended, not a queued job
        job.timing = {"total_s": now - job.claimed_at} | job.timing
