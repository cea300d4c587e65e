"""Response schemas of batch predictions, and the function that builds them."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from core.db.tables import Batch, BatchStatus
from service.api.schemas.jobs import JobError
from service.api.schemas.times import utc, utc_or_none


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
        created_at=utc(batch.created_at),
        started_at=utc_or_none(batch.started_at),
        finished_at=utc_or_none(batch.finished_at),
        links={"self": path, "results": f"{path}/results"},
    )
