"""What a job has recorded: events, metrics, log and checkpoints."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse

from core.db.tables import ENDED, Job
from core.errors import InvalidInput, NotFound
from core.repositories import checkpoints, events, jobs
from core.scopes import Scope
from service.api import event_stream
from service.api.dependencies import Service, State
from service.api.parameters import CheckpointId, JobId
from service.api.schemas.job_records import CheckpointView, EventPage, checkpoint_view, event_view
from service.api.waiting import WantsStream
from service.reports import learning_curves, metrics_history
from service.security.api_keys import RequireScope, Who
from service.web.json_body import JsonRoute
from service.web.problems import DESCRIBED
from service.web.security_headers import policy_with_inline

router = APIRouter(
    route_class=JsonRoute,
    responses=DESCRIBED,
    prefix="/jobs",
    tags=["jobs"],
    dependencies=[Depends(RequireScope(Scope.TRAIN))],
)
LOG_TAIL_BYTES = 2**20


@router.get(
    "/{job_id}/events",
    response_model=EventPage,
    responses={200: {"content": {"text/event-stream": {}}}, 204: {"description": "No more events to stream"}},
    summary="Get the events of a job",
)
def get_events(
    job_id: JobId,
    service: Service,
    caller: Who,
    wants_stream: WantsStream,
    after: Annotated[int, Query(ge=0, lt=2**31, description="Only events with a larger id")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Maximum events per page")] = 100,
    last_event_id: Annotated[str, Header(description="Id of the last received event (event stream only)")] = "",
) -> Response | EventPage:
    """Return a page of events or, with `Accept: text/event-stream`, a live stream.

    The stream ends after the event `done`. A client that reconnects after the last event of an ended job gets 204.
    """
    if wants_stream:
        number = _number(last_event_id)
        if _has_received_all(service, job_id, number):  # or 404, before the stream starts
            return Response(status_code=204)  # a browser does not reconnect after it
        is_admitted = partial(service.access.admits, caller)
        stream = event_stream.follow(service.db, job_id, number or after, service.stopping, is_admitted)
        return EventSourceResponse(stream, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
    with service.db.read() as session:
        jobs.get(session, job_id)
        found = events.after(session, job_id, after, limit + 1)
    page, more = found[:limit], len(found) > limit
    return EventPage(data=[event_view(e) for e in page], has_more=more, next=page[-1].number if more else None)


@router.get("/{job_id}/metrics", summary="Get the metrics of every epoch")
def get_metrics(
    job_id: JobId,
    service: Service,
    steps: Annotated[bool, Query(description="Include up to 50 records within epochs; they have a `step`")] = True,
) -> list[dict[str, float | int | None]]:
    """Return the metrics history, one record an epoch.

    If an attempt repeated epochs of an earlier one, its records replace the earlier ones.
    """
    kinds = ("metrics", "step") if steps else ("metrics",)
    with service.db.read() as session:
        job = jobs.get(session, job_id)
        return metrics_history.of(events.after(session, job_id, 0, job.last_event, *kinds))


@router.get(
    "/{job_id}/curves.svg",
    response_class=Response,
    responses={200: {"content": {"image/svg+xml": {}}}},
    summary="Get a chart of loss and accuracy",
)
def get_curves(job_id: JobId, service: Service) -> Response:
    """Draw one point per epoch; the chart is readable without colour."""
    job = _row(service, job_id)
    title = f"{job.recipe['name'] or job.id}: {job.recipe['network']} on {job.recipe['dataset']}"
    drawn = learning_curves.draw(title, get_metrics(job_id, service, steps=False))
    policy = {"Content-Security-Policy": policy_with_inline(drawn.decode())}  # it brings its own styles
    return Response(drawn, media_type="image/svg+xml", headers=policy)


@router.get(
    "/{job_id}/logs",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Get the training log",
)
def get_logs(
    job_id: JobId,
    service: Service,
    attempt: Annotated[
        int | None, Query(ge=1, lt=2**31, description="Number of the attempt, from 1; default: the newest")
    ] = None,
    after: Annotated[
        int | None, Query(ge=0, lt=2**53, description="Offset in bytes to start at; default: 1 MiB before the end")
    ] = None,
) -> Response:
    """Return at most 1 MiB of the log.

    Add the length of the response to `after` to get the next part.
    """
    job = _row(service, job_id)
    path = service.settings.log_path(job_id, attempt or job.attempt)
    if not path.is_file():
        raise NotFound("This attempt has written no log.")
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES) if after is None else after)
        return Response(file.read(LOG_TAIL_BYTES), media_type="text/plain")


@router.get("/{job_id}/checkpoints", summary="List checkpoints, newest first")
def list_checkpoints(job_id: JobId, service: Service) -> list[CheckpointView]:
    with service.db.read() as session:
        jobs.get(session, job_id)
        return [checkpoint_view(row) for row in checkpoints.of_job(session, job_id)]


@router.get("/{job_id}/checkpoints/{checkpoint_id}/content", summary="Download a checkpoint's weights as safetensors")
def get_checkpoint(job_id: JobId, checkpoint_id: CheckpointId, service: Service) -> FileResponse:
    with service.db.read() as session:
        row = next((r for r in checkpoints.of_job(session, job_id) if r.id == checkpoint_id), None)
    if row is None:
        raise NotFound(f"Job {job_id} has no checkpoint {checkpoint_id}.")
    path = service.store.fetch(f"{row.key}/weights.safetensors")
    return FileResponse(path, media_type="application/octet-stream", filename=f"{row.id}.safetensors")


def _row(service: State, job_id: str) -> Job:
    with service.db.read() as session:
        return jobs.get(session, job_id)


def _has_received_all(service: State, job_id: str, number: int) -> bool:
    """Check whether a client has received every event of an ended job."""
    job = _row(service, job_id)
    return job.status in ENDED and 0 < job.last_event <= number


def _number(last_event_id: str) -> int:
    if not last_event_id:
        return 0
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 10):
        raise InvalidInput("Last-Event-ID must be the id of an event: a whole number.", "header/last-event-id")
    return int(last_event_id)
