"""Response schemas of jobs, and the functions that build them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.db.tables import Job, JobStatus, Phase
from core.urls import MASK, masked
from service.api.schemas.times import utc, utc_or_none


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
        created_at=utc(job.created_at),
        started_at=utc_or_none(job.started_at),
        finished_at=utc_or_none(job.finished_at),
        estimated_finish=utc_or_none(job.estimated_finish),
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


def _without_secrets(recipe: dict[str, Any]) -> dict[str, Any]:
    webhook = recipe.get("webhook")
    if not webhook:
        return recipe
    return recipe | {"webhook": webhook | {"url": masked(webhook["url"]), "secret": webhook["secret"] and MASK}}
