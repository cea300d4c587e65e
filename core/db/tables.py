"""Database tables, and the states of jobs with their transitions.

Times are seconds since the epoch, UTC.
"""

from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
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
    """The current phase of a running job."""

    STARTING = "starting"
    PREPARING_DATA = "preparing_data"
    TRAINING = "training"
    EVALUATING = "evaluating"
    PUBLISHING = "publishing"


def _values(names: type[StrEnum]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _enum(names: type[StrEnum]) -> Enum:
    """Column type that stores an enum as text.

    The CHECK constraints limit the values, since SQLite has no enum type.
    """
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
    recipe: Mapped[dict[str, Any]]  # the request's recipe, with defaults filled in
    resolved_recipe: Mapped[dict[str, Any] | None] = mapped_column(
        JSON(none_as_null=True)
    )  # every "auto" resolved; set once the data is loaded
    owner: Mapped[str | None]  # id of the API key that POSTed it; None: there were no keys
    created_at: Mapped[float]
    started_at: Mapped[float | None]  # of the first attempt
    finished_at: Mapped[float | None]
    estimated_finish: Mapped[float | None]
    priority: Mapped[int] = mapped_column(default=0)  # the highest runs first
    requested_action: Mapped[str | None] = mapped_column(
        String(16)
    )  # pause a running job, or keep the model of a cancelling one
    worker_id: Mapped[str | None] = mapped_column(ForeignKey("workers.id"))
    attempt: Mapped[int] = mapped_column(default=0)  # the fencing token: every claim increments it
    claimed_at: Mapped[float | None]  # start of this attempt
    ran_s: Mapped[float] = mapped_column(default=0.0)  # run time of earlier attempts; counts towards time_limit_s
    retry_of: Mapped[str | None]  # the job whose checkpoints this one resumes from; may have been deleted
    failures: Mapped[int] = mapped_column(default=0)  # attempts that died; compared with max_attempts
    out_of_memory_attempts: Mapped[list[Any]] = mapped_column(
        default=list
    )  # attempts that the kernel's OOM killer ended
    heartbeat_at: Mapped[float | None]  # the trainer's last heartbeat
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
    """An event in a job's durable log.

    ``number`` counts from 1 in each job, without gaps.
    """

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    kind: Mapped[str] = mapped_column(String(16))  # status, metrics, step, checkpoint, log
    data: Mapped[dict[str, Any]]


class Checkpoint(Base):
    """A checkpoint whose files under ``key`` are complete."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("job_id", "attempt", "step"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    epoch: Mapped[int]  # completed epochs
    step: Mapped[int]  # completed steps of the whole run, those of an unfinished epoch included
    key: Mapped[str]  # the folder in the store
    metrics: Mapped[dict[str, Any]]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float]


class ModelName(Base):
    """A name under which models were published.

    It stays when they are deleted, so that no version number is given twice.
    """

    __tablename__ = "model_names"

    name: Mapped[str] = mapped_column(primary_key=True)
    versions: Mapped[int]  # published so far
    pinned: Mapped[bool]  # the default name, whatever is published; one at most
    published_at: Mapped[float | None]  # when a publication last changed what serves under it


class Model(Base):
    """A model whose files under ``key`` are complete, until they are deleted."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("name", "version"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(ForeignKey("model_names.name"))
    version: Mapped[int]  # counts within the name
    # no foreign key: jobs already refer to models, and a model outlives its job
    job_id: Mapped[str] = mapped_column(unique=True)  # a job publishes one model
    dataset: Mapped[str]
    test_accuracy: Mapped[float]
    key: Mapped[str]
    card: Mapped[dict[str, Any]]  # the model card, as in model.json
    created_at: Mapped[float]
    served_at: Mapped[float | None]  # when it last became the `serving` model
    files_deleted_at: Mapped[float | None]  # the row stays as a record; no alias points here
    deleted_at: Mapped[float | None]  # hidden; the row stays, since its job refers to it


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
    worker_id: Mapped[str | None] = mapped_column(ForeignKey("workers.id"))  # works on it, while it is alive
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Text)
    requested_at: Mapped[float]


class Alias(Base):
    __tablename__ = "aliases"

    model_name: Mapped[str] = mapped_column(ForeignKey("model_names.name"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    updated_at: Mapped[float]


class Key(Base):
    """An API key; its secret is not stored.

    The secret is shown once, when the key is created.
    """

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    digest: Mapped[str] = mapped_column(String(64), unique=True)  # sha256, hex
    scopes: Mapped[list[Any]]
    models: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))  # None: any
    created_at: Mapped[float]
    revoked_at: Mapped[float | None]


class IdempotencyRecord(Base):
    """The stored response to a request with an Idempotency-Key."""

    __tablename__ = "idempotency_records"

    path: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(primary_key=True)  # id of the API key, "" without keys
    idempotency_key: Mapped[str] = mapped_column(primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(64))  # sha256, hex
    status: Mapped[int | None]  # None: still in progress
    headers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    body: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[float]


class Delivery(Base):
    """A webhook delivery, written in the transaction of its event."""

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


class Upload(Base):
    """A resumable upload.

    The size of its file, ``uploads/<id>``, is the number of bytes received.
    """

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str | None]  # name of the file, as sent
    owner: Mapped[str | None]  # id of the API key that announced it; None: there were no keys
    length: Mapped[int] = mapped_column(BigInteger)  # bytes, in the end
    writer: Mapped[str | None]  # the request that writes a piece; another one begins once it has ended or is silent
    written_at: Mapped[float | None]
    created_at: Mapped[float]


NEVER = 2**31 - 1  # a version that does not come; no shorter than others, so that no page of rows overflows


class DatasetName(Base):
    """A name under which data sets were uploaded.

    It stays when they are deleted, so that no version or image number is given twice.
    """

    __tablename__ = "dataset_names"

    name: Mapped[str] = mapped_column(primary_key=True)
    versions: Mapped[int]  # made so far
    images: Mapped[int]  # numbered so far


class DatasetVersion(Base):
    """A version of an uploaded data set; it never changes."""

    __tablename__ = "dataset_versions"

    dataset: Mapped[str] = mapped_column(ForeignKey("dataset_names.name"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    card: Mapped[dict[str, Any]]  # as GET /datasets/{name} shows it
    created_at: Mapped[float]


class DatasetImage(Base):
    """An image of a data set, in a range of its versions.

    It is in the versions from ``since`` to the one before ``until``, so that a version costs only the rows of what
    changed. The four IDX files have a row each, without a class.
    """

    __tablename__ = "dataset_images"

    dataset: Mapped[str] = mapped_column(ForeignKey("dataset_names.name"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)  # of the image, within its data set
    since: Mapped[int] = mapped_column(primary_key=True)
    until: Mapped[int]  # NEVER: it is in the newest version
    part: Mapped[str] = mapped_column(String(8))  # train, val or test
    label: Mapped[str]  # the class
    file: Mapped[str]  # the name that it was sent with
    digest: Mapped[str] = mapped_column(String(64))  # sha256, hex, of its bytes
    group: Mapped[str]  # images of one group stay in one part; "": it is in none


class CheckupStatus(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Checkup(Base):
    """The check-up of an uploaded data set's newest version."""

    __tablename__ = "checkups"
    __table_args__ = (
        CheckConstraint(f"status IN ({_values(CheckupStatus)})", name="status"),
        CheckConstraint("status <> 'failed' OR error IS NOT NULL", name="failure_has_a_reason"),
        CheckConstraint("status <> 'done' OR findings IS NOT NULL", name="an_end_has_findings"),
        CheckConstraint("status <> 'running' OR worker_id IS NOT NULL", name="owned_by_a_worker"),
    )

    dataset: Mapped[str] = mapped_column(ForeignKey("dataset_names.name"), primary_key=True)
    version: Mapped[int]
    status: Mapped[CheckupStatus] = mapped_column(_enum(CheckupStatus))
    requested_at: Mapped[float]
    worker_id: Mapped[str | None]  # that runs its process; no foreign key: the worker may be gone
    attempt: Mapped[int] = mapped_column(default=0)  # the fencing token
    deaths: Mapped[int] = mapped_column(default=0)  # of its processes
    heartbeat_at: Mapped[float | None]
    images: Mapped[int]  # that were looked at so far
    findings: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[float | None]


class BatchStatus(StrEnum):
    """The states of a batch prediction, in their order; it ends once."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Batch(Base):
    """A batch prediction: many images, answered by a worker.

    Images and results are stored under ``key``.
    """

    __tablename__ = "batches"
    __table_args__ = (
        CheckConstraint(f"status IN ({_values(BatchStatus)})", name="status"),
        CheckConstraint("status <> 'failed' OR error IS NOT NULL", name="failure_has_a_reason"),
        Index(None, "status", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[BatchStatus] = mapped_column(_enum(BatchStatus))
    options: Mapped[dict[str, Any]]  # model, top_k and preprocess, as requested
    owner: Mapped[str | None]  # id of the API key that POSTed it; None: there were no keys
    key: Mapped[str]  # the folder in the store
    model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"))  # chosen when the batch starts
    worker_id: Mapped[str | None] = mapped_column(ForeignKey("workers.id"))
    attempt: Mapped[int] = mapped_column(default=0)  # the fencing token, like a job's
    heartbeat_at: Mapped[float | None]
    total: Mapped[int | None]  # images, once they are counted
    done: Mapped[int] = mapped_column(default=0)  # images whose results are stored
    errors: Mapped[int] = mapped_column(default=0)  # of these, images that could not be read
    reading: Mapped[int | None]  # index of the image that an attempt read alone, looking for one that kills it
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # why the batch failed
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    files_deleted_at: Mapped[float | None]  # the row is deleted after its files
