"""Response schemas of a job's events, checkpoints and webhook deliveries."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from core.db.tables import Checkpoint, Delivery, Event
from service.api.schemas.times import utc, utc_or_none


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


def event_view(event: Event) -> EventView:
    return EventView(id=event.number, at=utc(event.at), event=event.kind, data=event.data)


def checkpoint_view(row: Checkpoint) -> CheckpointView:
    return CheckpointView(
        id=row.id,
        attempt=row.attempt,
        epoch=row.epoch,
        step=row.step,
        metrics=row.metrics,
        size_bytes=row.size_bytes,
        created_at=utc(row.created_at),
    )


def delivery_view(row: Delivery) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        type=row.payload["type"],
        created_at=utc(row.created_at),
        attempts=row.attempts,
        next_attempt_at=utc(row.next_attempt_at) if row.completed_at is None else None,
        completed_at=utc_or_none(row.completed_at),
        error=row.error,
    )
