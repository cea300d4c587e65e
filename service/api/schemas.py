"""Response schemas of the API and the functions that build them."""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.artifacts.model_files import REPORT
from core.db.tables import Batch, BatchStatus, Checkpoint, Delivery, Event, Job, JobStatus, Model, Phase
from core.repositories.aliases import Target
from core.urls import MASK, masked


class PhaseView(BaseModel):
    phase: Phase = Field(description="What the job did in this phase.")
    started_at: datetime = Field(description="Start of the phase, UTC.")
    ended_at: datetime | None = Field(description="End of the phase, UTC; null while it lasts.")
    message: str = Field(description="Details for people; often empty.")


class JobError(BaseModel):
    code: str = Field(description="Stable error code, such as `out_of_memory`.")
    message: str = Field(description="What went wrong, for people.")
    hint: str = Field(description="How to fix it.")
    traceback_tail: str = Field(description="Last lines of the Python traceback; empty if there is none.")


class JobView(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    id: str = Field(description="`job_` and 21 hexadecimal digits; ids sort by time of creation.")
    name: str | None = Field(description="The recipe's `name`; null if it has none.")
    status: JobStatus = Field(description="Current status; succeeded, failed and cancelled are final.")
    pausing: bool = Field(description="Whether a running job pauses as soon as its checkpoint is written.")
    phase: Phase | None = Field(description="Current phase of a running job, or last phase of an ended one.")
    recipe: dict[str, Any] = Field(
        description='The recipe as sent, with defaults; the webhook\'s secret and path are "***".'
    )
    resolved_recipe: dict[str, Any] | None = Field(description='The recipe that runs, with every "auto" decided.')
    created_at: datetime = Field(description="Time of creation, UTC.")
    started_at: datetime | None = Field(description="Start of the first attempt, UTC; null before it.")
    finished_at: datetime | None = Field(description="Time of the end, UTC; null until then.")
    estimated_finish: datetime | None = Field(
        description="Expected end of training, UTC; null before training starts and after success."
    )
    progress: dict[str, Any] = Field(description="The fields epoch, epochs, step, steps and percent.")
    metrics: dict[str, Any] = Field(
        description="Latest losses and accuracies (0 to 1); once they are known, `test_accuracy`, and in `test` its "
        "count and 95 % interval."
    )
    timing: dict[str, Any] = Field(
        description="Seconds per phase and to reach an accuracy, and training images per second."
    )
    device: dict[str, Any] = Field(
        description="The fields type, name, count, threads and peak_memory_bytes; empty before training."
    )
    phases: list[PhaseView] = Field(description="Phases of the current attempt, in order.")
    attempt: int = Field(description="Number of times a worker has started it; 0 before the first.")
    resumed_from: str | None = Field(
        description="Id of the checkpoint that this attempt continues from; null if there is none."
    )
    model_id: str | None = Field(description="Id of the model that the job published; null if there is none.")
    error: JobError | None = Field(description="Why the job failed; null for every other status.")
    metadata: dict[str, str] = Field(description="The recipe's `metadata`.")
    links: dict[str, str] = Field(description="Paths of related resources, by kind.")


class RecipeWarning(BaseModel):
    pointer: str = Field(description="JSON Pointer to the field of the recipe.")
    detail: str = Field(description="What will probably fail, and what to do.")


class AcceptedJobView(JobView):
    warnings: list[RecipeWarning] = Field(
        [], description="Reasons why the job will probably fail; empty if none is known."
    )


class JobPage(BaseModel):
    data: list[JobView] = Field(description="The entries of this page, newest first.")
    has_more: bool = Field(description="Whether older entries follow.")
    next: str | None = Field(description="The value of `after` for the next page; null on the last page.")


class TestResult(BaseModel):
    correct: int = Field(description="Number of test images classified correctly.")
    images: int = Field(description="Number of test images.")
    low: float = Field(description="Lower end of the accuracy's 95 % interval (Wilson), 0 to 1.")
    high: float = Field(description="Upper end of the accuracy's 95 % interval (Wilson), 0 to 1.")


class ModelView(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    id: str = Field(description="`model_`, the digits of the job's id, and the attempt that published it.")
    name: str = Field(description="Name it was published under.")
    version: int = Field(description="Number within the name, in order of publication, from 1.")
    job_id: str = Field(description="Id of the job that published it; the job may be deleted since.")
    aliases: list[str] = Field(description="Aliases that point at it now.")
    created_at: datetime = Field(description="Time of publication, UTC.")
    network: str = Field(description="Name of the network, as in recipes.")
    dataset: str = Field(description="Name of the data set it was trained on.")
    dataset_digest: str = Field(description="SHA-256 of all images and labels; equal digests mean equal data.")
    test_digest: str = Field(
        description="SHA-256 of the test images and labels, in any order; `best` compares models that share it."
    )
    classes: list[str] = Field(description="Class names in the order of the network's outputs.")
    test_accuracy: float = Field(description="Share of the test images classified correctly, 0 to 1.")
    test: TestResult = Field(description="The test accuracy's count and its 95 % interval.")
    metrics: dict[str, Any] = Field(description="Losses and accuracies (0 to 1) of the best epoch and on the test set.")
    timing: dict[str, Any] = Field(
        description="Seconds per phase and per publishing step, and training images per second."
    )
    best_epoch: int = Field(description="Number of the epoch whose weights the model has, from 1.")
    recipe: dict[str, Any] = Field(description='The recipe it was trained with, with every "auto" decided.')
    preparation: dict[str, Any] = Field(description="How an image becomes the network's input; sizes in pixels.")
    per_class: list[dict[str, Any]] = Field(description="Number of test images, precision, recall and F1 per class.")
    confusion_matrix: list[list[int]] = Field(
        description="Numbers of test images. Row: the true class; column: the predicted class."
    )
    calibration: dict[str, Any] | None = Field(
        None,
        description="Temperature of the probabilities, and their calibration error on the test set; null where it has "
        "too few images to tell.",
    )
    serving: dict[str, Any] | None = Field(
        None, description="Which ONNX graph serves on a CPU and why, and the milliseconds each takes per batch size."
    )
    ood: dict[str, Any] | None = Field(
        None, description="How `ood_score` was fitted, and the shares of validation and test images it abstains on."
    )
    device: dict[str, Any] = Field(description="Device it was trained on; memory in bytes.")
    versions: dict[str, str] = Field(description="Versions of the libraries that trained it.")
    files: dict[str, dict[str, Any]] = Field(description="Size in bytes and SHA-256 of each file, by name.")
    files_deleted_at: datetime | None = Field(
        description="Time when its files were deleted, UTC; null while it has them."
    )
    served_at: datetime | None = Field(description="Time when it last started to serve, UTC; null if it never did.")
    publication: dict[str, Any] | None = Field(
        None, description="Whether the alias `serving` moved to it at publication, and why."
    )
    links: dict[str, str] = Field(description="Paths of related resources, by kind.")


class ModelPage(BaseModel):
    data: list[ModelView] = Field(description="The entries of this page, newest first.")
    has_more: bool = Field(description="Whether older entries follow.")
    next: str | None = Field(description="The value of `after` for the next page; null on the last page.")


class DefaultNameView(BaseModel):
    name: str = Field(description="Name that answers requests without a model.")
    pinned: bool = Field(description="Whether it stays the default whatever is published.")


class AliasView(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model: str = Field(description="Name of the models it belongs to.")
    name: str = Field(
        description="Name of the alias. `latest` and `best` move automatically, `serving` as recipes say."
    )
    model_id: str = Field(description="Id of the model it points at.")
    version: int = Field(description="Version of that model.")
    updated_at: datetime = Field(description="Time since when it points at that model, UTC.")


class EventView(BaseModel):
    id: int = Field(description="Number of the event within its job, from 1.")
    at: datetime = Field(description="Time of the event, UTC.")
    event: str = Field(
        description="Kind: status, metrics (end of an epoch), step (within an epoch), checkpoint or log."
    )
    data: dict[str, Any] = Field(description="Details of the event; losses and accuracies for metrics and step.")


class EventPage(BaseModel):
    data: list[EventView] = Field(description="The events of this page, oldest first.")
    has_more: bool = Field(description="Whether later events follow.")
    next: int | None = Field(description="The value of `after` for the next page; null on the last page.")


class CheckpointView(BaseModel):
    id: str = Field(description="Id of the checkpoint, as in its path and in `resumed_from`.")
    attempt: int = Field(description="Number of the attempt that wrote it, from 1.")
    epoch: int = Field(description="Number of completed epochs.")
    step: int = Field(description="Number of completed steps, those of an unfinished epoch included.")
    metrics: dict[str, Any] = Field(description="Losses and accuracies (0 to 1) after the last completed epoch.")
    size_bytes: int = Field(description="Bytes of the weights and the training state.")
    created_at: datetime = Field(description="Time of creation, UTC.")


class DeliveryView(BaseModel):
    id: str = Field(description="Value of the header `webhook-id`, the same for each attempt.")
    type: str = Field(description="Type of the event: job.status, job.metrics, job.checkpoint or job.done.")
    created_at: datetime = Field(description="Time of the event, UTC.")
    attempts: int = Field(description="Number of attempts to send it.")
    next_attempt_at: datetime | None = Field(description="Time of the next attempt, UTC; null once it is completed.")
    completed_at: datetime | None = Field(description="Time when it was delivered or, with an `error`, given up, UTC.")
    error: str | None = Field(description="Why the last attempt failed; null if it did not.")


class DeliveryPage(BaseModel):
    data: list[DeliveryView] = Field(description="The entries of this page, newest first.")
    has_more: bool = Field(description="Whether older entries follow.")
    next: str | None = Field(description="The value of `after` for the next page; null on the last page.")


class BatchView(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    id: str = Field(description="`batch_` and 21 hexadecimal digits; ids sort by time of creation.")
    status: BatchStatus = Field(description="Current status; succeeded, failed and cancelled are final.")
    model: str | None = Field(description="Requested model, an id or alias; null: the serving model.")
    top_k: int = Field(description="Requested number of classes per image, 1 to 100.")
    preprocess: str = Field(description="Requested preprocessing: auto, center, none or invert.")
    model_id: str | None = Field(
        description="Id of the model that classifies all images, chosen when the batch starts."
    )
    total: int | None = Field(description="Number of images, unreadable ones included.")
    done: int = Field(description="Number of images with a line in the results.")
    errors: int = Field(description="Number of result lines that are errors.")
    attempt: int = Field(description="Number of times a worker has started it; 0 before the first.")
    error: JobError | None = Field(description="Why the batch or its last attempt failed; null if it did not.")
    created_at: datetime = Field(description="Time of creation, UTC.")
    started_at: datetime | None = Field(description="Start of the first attempt, UTC; null before it.")
    finished_at: datetime | None = Field(description="Time of the end, UTC; null until then.")
    links: dict[str, str] = Field(description="Paths of the batch and its results.")


class BatchPage(BaseModel):
    data: list[BatchView] = Field(description="The entries of this page, newest first.")
    has_more: bool = Field(description="Whether older entries follow.")
    next: str | None = Field(description="The value of `after` for the next page; null on the last page.")


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
        "name": model.name,
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
    return AliasView(
        model=model.name, name=name, model_id=model.id, version=model.version, updated_at=_time(target.since)
    )


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
