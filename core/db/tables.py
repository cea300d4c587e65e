"""The rows. States stand here with their transitions beside them. Times are seconds since the epoch, UTC."""

from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, CheckConstraint, Enum, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset(
        {JobStatus.QUEUED, JobStatus.PAUSED, JobStatus.CANCELLING, JobStatus.SUCCEEDED, JobStatus.FAILED}
    ),
    JobStatus.PAUSED: frozenset({JobStatus.QUEUED, JobStatus.CANCELLED}),
    JobStatus.CANCELLING: frozenset({JobStatus.CANCELLED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}
ENDED = frozenset(status for status, following in TRANSITIONS.items() if not following)
OWNED = frozenset({JobStatus.RUNNING, JobStatus.CANCELLING})  # a worker holds the job


class Phase(StrEnum):
    """What a running job is doing."""

    STARTING = "starting"
    PREPARING_DATA = "preparing_data"
    TRAINING = "training"
    EVALUATING = "evaluating"
    PUBLISHING = "publishing"


def _values(names: type[StrEnum]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _enum(names: type[StrEnum]) -> Enum:
    """Stored as text; the CHECKs below hold the values, since SQLite has no enum type."""
    return Enum(names, native_enum=False, length=32, values_callable=lambda kind: [name.value for name in kind])


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {dict[str, Any]: JSON, list[Any]: JSON, str: String(255)}


class Worker(Base):
    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    started_at: Mapped[float]
    heartbeat_at: Mapped[float]  # older than the lease: the worker is lost


class Job(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"status IN ({_values(JobStatus)})", name="status"),
        CheckConstraint(f"phase IN ({_values(Phase)})", name="phase"),
        CheckConstraint("status NOT IN ('running', 'cancelling') OR worker_id IS NOT NULL", name="owned_by_a_worker"),
        CheckConstraint("status <> 'succeeded' OR model_id IS NOT NULL", name="success_has_a_model"),
        CheckConstraint("status <> 'failed' OR error IS NOT NULL", name="failure_has_a_reason"),
        CheckConstraint("requested_action IN ('pause', 'keep')", name="requested_action"),
        Index(None, "status", "priority", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[JobStatus] = mapped_column(_enum(JobStatus))
    phase: Mapped[Phase | None] = mapped_column(_enum(Phase))
    recipe: Mapped[dict[str, Any]]  # as it was POSTed, defaults filled in
    resolved_recipe: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True)
    )  # every "auto" decided; set when the data is known
    created_at: Mapped[float]
    started_at: Mapped[float | None]  # of the first attempt
    finished_at: Mapped[float | None]
    estimated_finish: Mapped[float | None]
    priority: Mapped[int] = mapped_column(default=0)  # of those that wait, the highest goes first
    requested_action: Mapped[str | None] = mapped_column(
        String(16)
    )  # of the trainer: pause a running job, keep the model of a cancelling one
    worker_id: Mapped[str | None] = mapped_column(ForeignKey("workers.id"))
    attempt: Mapped[int] = mapped_column(default=0)  # the fence: every claim raises it
    claimed_at: Mapped[float | None]  # start of this attempt
    ran_s: Mapped[float] = mapped_column(default=0.0)  # of the attempts before; compared with time_limit_s
    retry_of: Mapped[str | None]  # the job from whose checkpoints this one goes on; it may be deleted since
    failures: Mapped[int] = mapped_column(default=0)  # attempts that died; compared with max_attempts
    out_of_memory_attempts: Mapped[list[Any]] = mapped_column(default=list)  # those of them that the kernel killed
    heartbeat_at: Mapped[float | None]  # the trainer's last sign of life
    last_event: Mapped[int] = mapped_column(default=0)
    resumed_from: Mapped[str | None]  # checkpoint id
    model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"))
    phases: Mapped[list[Any]] = mapped_column(default=list)
    progress: Mapped[dict[str, Any]] = mapped_column(default=dict)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    timing: Mapped[dict[str, Any]] = mapped_column(default=dict)
    device: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class Event(Base):
    """The durable log of a job. ``number`` counts 1, 2, 3, ... in each job, without gaps."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    kind: Mapped[str] = mapped_column(String(16))  # status, metrics, step, checkpoint, log
    data: Mapped[dict[str, Any]]


class Checkpoint(Base):
    """A row here promises that the files under ``key`` are whole."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("job_id", "attempt", "step"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    epoch: Mapped[int]  # whole epochs done
    step: Mapped[int]  # steps done in the whole run; of a checkpoint within an epoch more than those epochs have
    key: Mapped[str]  # the folder in the store
    metrics: Mapped[dict[str, Any]]
    size_bytes: Mapped[int]
    created_at: Mapped[float]


class Model(Base):
    """A row here promises that the files under ``key`` are whole, until they are deleted."""

    __tablename__ = "models"

    id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(unique=True)
    # no foreign key: jobs already point here, and a model outlives its job
    job_id: Mapped[str] = mapped_column(unique=True)  # a job publishes once
    dataset: Mapped[str]
    test_accuracy: Mapped[float]
    key: Mapped[str]
    card: Mapped[dict[str, Any]]  # what people and the predictor need to know of it, as in model.json
    created_at: Mapped[float]
    served_at: Mapped[float | None]  # when it last began to answer as `serving`
    files_deleted_at: Mapped[float | None]  # the row still tells of it; no alias points here
    deleted_at: Mapped[float | None]  # hidden; the row stays, since its job points here


class ExportStatus(StrEnum):
    QUEUED = "queued"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Export(Base):
    """A model's torch.export program, made on request."""

    __tablename__ = "exports"
    __table_args__ = (
        CheckConstraint(f"status IN ({_values(ExportStatus)})", name="status"),
        CheckConstraint("status <> 'failed' OR error IS NOT NULL", name="failure_has_a_reason"),
    )

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    status: Mapped[ExportStatus] = mapped_column(_enum(ExportStatus))
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Text)
    requested_at: Mapped[float]


class Alias(Base):
    __tablename__ = "aliases"

    name: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    updated_at: Mapped[float]


class Key(Base):
    """An API key. The key itself is shown once, when it is made."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    digest: Mapped[str] = mapped_column(String(64), unique=True)  # sha256, hex
    scopes: Mapped[list[Any]]
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]


class Creation(Base):
    """What a request with an Idempotency-Key was answered, for when it is sent again."""

    __tablename__ = "creations"

    path: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(primary_key=True)  # id of the API key, "" without keys
    idempotency_key: Mapped[str] = mapped_column(primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(64))  # sha256, hex
    status: Mapped[int | None]  # None: still being answered
    headers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    body: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[float]


class Delivery(Base):
    """A webhook to be delivered, written in the transaction of the event that it tells of."""

    __tablename__ = "deliveries"
    __table_args__ = (Index(None, "completed_at", "next_attempt_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    host: Mapped[str]  # and port, of the receiver
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[float]
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[float]
    completed_at: Mapped[float | None]  # delivered, or given up
    error: Mapped[str | None] = mapped_column(String(1000))  # of the last attempt


class BatchStatus(StrEnum):
    """A batch of predictions moves down this list, and ends once."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Batch(Base):
    """Predictions for many images, made by a worker. The images lie under ``key``, and so do the answers."""

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint(f"status IN ({_values(BatchStatus)})", name="status"),
        CheckConstraint("status <> 'failed' OR error IS NOT NULL", name="failure_has_a_reason"),
        Index(None, "status", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[BatchStatus] = mapped_column(_enum(BatchStatus))
    options: Mapped[dict[str, Any]]  # model, top_k, preprocess: as they were asked for
    key: Mapped[str]  # the folder in the store
    model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"))  # that answers; chosen when it starts
    worker_id: Mapped[str | None] = mapped_column(ForeignKey("workers.id"))
    attempt: Mapped[int] = mapped_column(default=0)  # the fence, as of a job
    heartbeat_at: Mapped[float | None]
    total: Mapped[int | None]  # images, once they are counted
    done: Mapped[int] = mapped_column(default=0)  # of them answered, and stored
    errors: Mapped[int] = mapped_column(default=0)  # of those done, not readable
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # why the batch failed
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    files_deleted_at: Mapped[float | None]  # the row follows them
