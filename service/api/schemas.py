"""What people see of rows: the shapes of the answers, and how each is made."""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.artifacts.model_files import REPORT
from core.db.tables import Batch, BatchStatus, Checkpoint, Delivery, Event, Job, JobStatus, Model, Phase
from core.repositories.models import Target
from core.urls import MASK, masked


class PhaseView(BaseModel):
    phase: Phase = Field(description="What the job was doing.")
    started_at: datetime = Field(description="UTC.")
    ended_at: datetime | None = Field(description="UTC; null while it lasts.")
    message: str = Field(description="More about it, for people; often empty.")


class JobError(BaseModel):
    code: str = Field(description="Stable; docs/api.md has them all.")
    message: str = Field(description="What happened, for people.")
    hint: str = Field(description="What to do about it.")
    traceback_tail: str = Field(description="The last lines of Python's traceback; empty where none was left.")


class JobView(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    id: str = Field(description="`job_` and 21 hexadecimal digits; ids sort by age.")
    name: str | None = Field(description="The recipe's; null: none was given.")
    status: JobStatus = Field(description="Where it is on its way; succeeded, failed and cancelled are final.")
    pausing: bool = Field(description="It runs, was asked to pause, and has yet to write its checkpoint.")
    phase: Phase | None = Field(description="What a running job is doing, or what an ended one did last.")
    recipe: dict[str, Any] = Field(description='As POSTed, with defaults; a webhook\'s secret and path are "***".')
    resolved_recipe: dict[str, Any] | None = Field(description='What truly ran: every "auto" decided.')
    created_at: datetime = Field(description="When it was POSTed, in UTC.")
    started_at: datetime | None = Field(description="When its first attempt began, in UTC; null: none has yet.")
    finished_at: datetime | None = Field(description="When it ended, in UTC; null until then.")
    estimated_finish: datetime | None = Field(
        description="When its training should be over, in UTC; null before it trains, and after success."
    )
    progress: dict[str, Any] = Field(description="epoch, epochs, step, steps, percent")
    metrics: dict[str, Any] = Field(description="The latest losses and accuracies; test_accuracy once it is known.")
    timing: dict[str, Any] = Field(description="Seconds in each phase, images/s, seconds to an accuracy.")
    device: dict[str, Any] = Field(description="type, name, count, threads, peak_memory_bytes; empty before training.")
    phases: list[PhaseView] = Field(description="Of this attempt, in order.")
    attempt: int = Field(description="How often a worker has taken it; 0: it waits for the first.")
    resumed_from: str | None = Field(description="The checkpoint that this attempt went on from.")
    model_id: str | None = Field(description="The model that it made; null: none yet, or never.")
    error: JobError | None = Field(description="Why it failed; null for every other status.")
    metadata: dict[str, str] = Field(description="The recipe's: pairs of your own.")
    links: dict[str, str] = Field(description="Paths of what belongs to it, by what is there.")


class JobPage(BaseModel):
    data: list[JobView] = Field(description="Newest first.")
    has_more: bool = Field(description="Older ones follow.")
    next: str | None = Field(description="Give it as `after` to get the next page; null on the last one.")


class ModelView(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    id: str = Field(description="`model_`, the digits of its job's id, and the attempt that made it.")
    version: int = Field(description="Counts 1, 2, 3, ... over all models, as they are published.")
    job_id: str = Field(description="The job that made it; that may be deleted since.")
    aliases: list[str] = Field(description="Names that point at it now.")
    created_at: datetime = Field(description="When it was published, in UTC.")
    network: str = Field(description="torchvision's name of it.")
    dataset: str = Field(description="Name of the data set that it was trained on.")
    dataset_digest: str = Field(description="sha256 of all images and labels: the same digest is the same data.")
    test_digest: str = Field(
        description="sha256 of the test images and their labels, in any order: `best` compares models that share it."
    )
    classes: list[str] = Field(description="Labels in the order of the network's outputs.")
    test_accuracy: float = Field(description="Share of the test set answered rightly, 0 to 1.")
    metrics: dict[str, Any] = Field(description="Losses and accuracies of the best epoch, and on the test set.")
    timing: dict[str, Any] = Field(description="Seconds of each phase, and of publishing's steps; images/s.")
    best_epoch: int = Field(description="The one whose weights it has, counted from 1.")
    recipe: dict[str, Any] = Field(description='What it was trained by, with every "auto" decided.')
    preparation: dict[str, Any] = Field(description="How an image becomes what the network sees; sizes in pixels.")
    per_class: list[dict[str, Any]] = Field(description="Test images, precision, recall and F1 of each class.")
    confusion_matrix: list[list[int]] = Field(description="Row: the true class, column: the answer.")
    calibration: dict[str, Any] | None = Field(
        None,
        description="The temperature of /predict's probabilities, and how true these are on the test set.",
    )
    serving: dict[str, Any] | None = Field(
        None, description="Which graph answers on a CPU and why, and how long each takes for so many images."
    )
    ood: dict[str, Any] | None = Field(
        None, description="How ood_score was fitted, and the shares of validation and test images it abstains on."
    )
    device: dict[str, Any] = Field(description="That it was trained on; memory in bytes.")
    versions: dict[str, str] = Field(description="Of the libraries that trained it.")
    files: dict[str, dict[str, Any]] = Field(description="Size and sha256 of each.")
    files_deleted_at: datetime | None = Field(description="Since then only this record is left.")
    served_at: datetime | None = Field(description="When it last began to answer as `serving`.")
    publication: dict[str, Any] | None = Field(
        None, description="Whether `serving` moved to it when it was published, and why."
    )
    links: dict[str, str] = Field(description="Paths of what belongs to it, by what is there.")


class ModelPage(BaseModel):
    data: list[ModelView] = Field(description="Newest first.")
    has_more: bool = Field(description="Older ones follow.")
    next: int | None = Field(description="Give it as `after` to get the next page; null on the last one.")


class AliasView(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    name: str = Field(description="`latest` and `best` move by themselves, `serving` as recipes say, others by hand.")
    model_id: str = Field(description="The model that it names.")
    version: int = Field(description="Of that model.")
    updated_at: datetime = Field(description="Since when it names that model, in UTC.")


class EventView(BaseModel):
    id: int = Field(description="Counts 1, 2, 3, ... in each job.")
    at: datetime = Field(description="UTC.")
    event: str = Field(description="status, metrics (an epoch has ended), step (within an epoch), checkpoint or log")
    data: dict[str, Any] = Field(description="What is new: for metrics and step the losses and accuracies.")


class EventPage(BaseModel):
    data: list[EventView] = Field(description="Oldest first.")
    has_more: bool = Field(description="Later ones are there already.")
    next: int | None = Field(description="Give it as `after` to get the next page; null on the last one.")


class CheckpointView(BaseModel):
    id: str = Field(description="Names it in the path of its weights, and in `resumed_from`.")
    attempt: int = Field(description="The attempt of the job that wrote it.")
    epoch: int = Field(description="Whole epochs done.")
    step: int = Field(description="Steps done; of a checkpoint within an epoch more than its epochs have.")
    metrics: dict[str, Any] = Field(description="Losses and accuracies after its last whole epoch.")
    size_bytes: int = Field(description="Of its weights and the state of its training.")
    created_at: datetime = Field(description="UTC.")


class DeliveryView(BaseModel):
    id: str = Field(description="The header `webhook-id` of each try.")
    type: str = Field(description="job.status, job.metrics, job.checkpoint or job.done")
    created_at: datetime = Field(description="When that happened to the job, in UTC.")
    attempts: int = Field(description="How often it was sent.")
    next_attempt_at: datetime | None = Field(description="When it is sent next; null once it is completed.")
    completed_at: datetime | None = Field(description="Delivered; or given up, when there is an error.")
    error: str | None = Field(description="Of the last try.")


class DeliveryPage(BaseModel):
    data: list[DeliveryView] = Field(description="Newest first.")
    has_more: bool = Field(description="Older ones follow.")
    next: str | None = Field(description="Give it as `after` to get the next page; null on the last one.")


class BatchView(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    id: str = Field(description="`batch_` and 21 hexadecimal digits; ids sort by age.")
    status: BatchStatus = Field(description="Where it is on its way; succeeded, failed and cancelled are final.")
    model: str | None = Field(description="As it was asked for; null: the one that serves.")
    top_k: int = Field(description="How many classes each answer names, as it was asked for.")
    preprocess: str = Field(description="What is done to an image first, as it was asked for.")
    model_id: str | None = Field(description="Of the model that answers all of them; chosen when the batch starts.")
    total: int | None = Field(description="Images, readable or not.")
    done: int = Field(description="Of them with a line in the results.")
    errors: int = Field(description="Of those done, the lines that are errors.")
    attempt: int = Field(description="How often a worker has taken it; 0: it waits for the first.")
    error: JobError | None = Field(description="Why the batch failed, or its last attempt died.")
    created_at: datetime = Field(description="When it was POSTed, in UTC.")
    started_at: datetime | None = Field(description="When its first attempt began, in UTC; null: none has yet.")
    finished_at: datetime | None = Field(description="When it ended, in UTC; null until then.")
    links: dict[str, str] = Field(description="Paths of itself and of its results.")


class BatchPage(BaseModel):
    data: list[BatchView] = Field(description="Newest first.")
    has_more: bool = Field(description="Older ones follow.")
    next: str | None = Field(description="Give it as `after` to get the next page; null on the last one.")


def job_view(job: Job) -> JobView:
    path = f"/jobs/{job.id}"
    links = {"self": path, "events": f"{path}/events", "logs": f"{path}/logs", "checkpoints": f"{path}/checkpoints"}
    if job.model_id:
        links["model"] = f"/models/{job.model_id}"
    if job.recipe.get("webhook"):
        links["deliveries"] = f"{path}/deliveries"
    if job.retry_of:
        links["retry_of"] = f"/jobs/{job.retry_of}"
    return JobView(
        id=job.id,
        name=job.recipe["name"],
        status=job.status,
        pausing=job.status is JobStatus.RUNNING and job.requested_action == "pause",
        phase=job.phase,
        recipe=_without_secrets(job.recipe),
        resolved_recipe=job.resolved_recipe,
        created_at=_time(job.created_at),
        started_at=_time_or_none(job.started_at),
        finished_at=_time_or_none(job.finished_at),
        estimated_finish=_time_or_none(job.estimated_finish),
        progress=job.progress,
        metrics=job.metrics,
        timing=job.timing,
        device=job.device,
        phases=[PhaseView(**phase) for phase in job.phases],
        attempt=job.attempt,
        resumed_from=job.resumed_from,
        model_id=job.model_id,
        error=JobError(**job.error) if job.error else None,
        metadata=job.recipe["metadata"],
        links=links,
    )


def model_view(model: Model, aliases: dict[str, list[str]]) -> ModelView:
    shown = {name: model.card[name] for name in ModelView.model_fields if name in model.card}
    own = {
        "id": model.id,
        "version": model.version,
        "job_id": model.job_id,
        "aliases": aliases.get(model.id, []),
        "created_at": _time(model.created_at),
        "test_accuracy": model.test_accuracy,
        "files_deleted_at": _time_or_none(model.files_deleted_at),
        "served_at": _time_or_none(model.served_at),
        "links": _links_of(model),
    }
    return ModelView.model_validate(shown | own)


def _links_of(model: Model) -> dict[str, str]:
    path = f"/models/{model.id}"
    links = {"self": path, "job": f"/jobs/{model.job_id}"}
    if model.files_deleted_at is None:
        links["content"] = f"{path}/content"
        if REPORT in model.card["files"]:
            links |= {"report": f"{path}/report", "report_page": f"{path}/report.html"}
    return links


def alias_view(name: str, target: Target) -> AliasView:
    model = target.model
    return AliasView(name=name, model_id=model.id, version=model.version, updated_at=_time(target.since))


def event_view(event: Event) -> EventView:
    return EventView(id=event.number, at=_time(event.at), event=event.kind, data=event.data)


def checkpoint_view(row: Checkpoint) -> CheckpointView:
    return CheckpointView(
        id=row.id,
        attempt=row.attempt,
        epoch=row.epoch,
        step=row.step,
        metrics=row.metrics,
        size_bytes=row.size_bytes,
        created_at=_time(row.created_at),
    )


def delivery_view(row: Delivery) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        type=row.payload["type"],
        created_at=_time(row.created_at),
        attempts=row.attempts,
        next_attempt_at=_time(row.next_attempt_at) if row.completed_at is None else None,
        completed_at=_time_or_none(row.completed_at),
        error=row.error,
    )


def _without_secrets(recipe: dict[str, Any]) -> dict[str, Any]:
    webhook = recipe.get("webhook")
    if not webhook:
        return recipe
    return recipe | {"webhook": webhook | {"url": masked(webhook["url"]), "secret": webhook["secret"] and MASK}}


def batch_view(batch: Batch) -> BatchView:
    path = f"/batches/{batch.id}"
    return BatchView(
        id=batch.id,
        status=batch.status,
        **batch.options,
        model_id=batch.model_id,
        total=batch.total,
        done=batch.done,
        errors=batch.errors,
        attempt=batch.attempt,
        error=JobError(**batch.error) if batch.error else None,
        created_at=_time(batch.created_at),
        started_at=_time_or_none(batch.started_at),
        finished_at=_time_or_none(batch.finished_at),
        links={"self": path, "results": f"{path}/results"},
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _time_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)
