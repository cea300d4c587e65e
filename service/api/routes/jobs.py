"""Create, follow and control training jobs."""

import time
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core.artifacts import weight_files
from core.dataset_references import parse_dataset
from core.db.tables import ENDED, Job, JobStatus
from core.errors import InvalidInput, NotFound
from core.networks import EFFICIENTNET_LITE0, NETWORKS, lookup
from core.recipes.presets import ACCURATE_NETWORKS
from core.recipes.recipe import Recipe
from core.repositories import checkpoints, events, job_control, jobs, models
from core.repositories.api_keys import Caller
from core.repositories.idempotency import CreatedResponse
from core.scopes import Scope
from core.settings import Settings
from service.api import event_stream
from service.api.dependencies import Service, State
from service.api.idempotency import IdempotencyKey, create
from service.api.long_polling import poll_until
from service.api.parameters import TEXT, After, CheckpointId, JobId, Limit
from service.api.routes.models import delete_model
from service.api.schemas.job_records import CheckpointView, EventPage, checkpoint_view, event_view
from service.api.schemas.jobs import AcceptedJobView, JobPage, JobView, RecipeWarning, job_view
from service.api.waiting import Wait, WantsStream
from service.datasets.catalog import summaries, summary
from service.reports import learning_curves, metrics_history
from service.security.api_keys import RequireScope, Who
from service.uploads.disk_space import require_space
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


@router.post("", status_code=202, response_model=AcceptedJobView, summary="Train a network")
def create_job(recipe: Recipe, service: Service, caller: Who, idempotency_key: IdempotencyKey = None) -> Response:
    """Queue a training job.

    `{}` is a valid body: every field has a default. `{"rerun": "pets/3"}` trains a model again, on a CPU to the same
    bits. Poll the `Location`. `warnings` names what will probably fail.
    """

    def make(session: Session) -> CreatedResponse:
        whole = models.rerun_of(session, recipe) if recipe.rerun else _with_weights_at_hand(recipe, service.settings)
        _require_dataset(session, service, whole.dataset)
        require_space(service.settings)
        job = jobs.enqueue(session, whole, time.time(), **_room(service, caller))
        if whole.network != recipe.network and not recipe.rerun:
            message = f"preset accurate: {whole.network} is the best of its networks whose weights are here"
            events.append(session, job.id, "log", {"message": message}, time.time())
        return _accepted(session, job, service.settings)

    asked = recipe.model_dump(mode="json", exclude_unset=True)
    return create(service, router.prefix, caller, idempotency_key, asked, make)


def _with_weights_at_hand(recipe: Recipe, settings: Settings) -> Recipe:
    """Choose the network of the preset "accurate": the first of those that fit whose weights need no download."""
    is_chosen = "network" in recipe.model_fields_set or recipe.freeze.startswith("until:")
    if recipe.preset != "accurate" or recipe.weights != "imagenet" or is_chosen:
        return recipe
    side = recipe.image_size
    networks = [NETWORKS[name] for name in ACCURATE_NETWORKS]
    fitting = [network for network in networks if isinstance(side, str) or network.refusal(side) is None]
    found = next(network for network in fitting if weight_files.availability(network, settings) == "available")
    return recipe.model_copy(update={"network": found.name})


def _accepted(session: Session, job: Job, settings: Settings) -> CreatedResponse:
    body = AcceptedJobView(**job_view(job).model_dump(), warnings=_warnings(session, job, settings))
    headers = {"Location": f"{router.prefix}/{job.id}", "Retry-After": "2"}
    return CreatedResponse(202, headers, body.model_dump(mode="json"))


def _warnings(session: Session, job: Job, settings: Settings) -> list[RecipeWarning]:
    """Say so if the job's pre-trained weights are surely missing."""
    network = lookup.get(job.recipe["network"])
    failed = network.name in jobs.networks_without_weights(session, time.time())
    missing = weight_files.availability(network, settings, failed) == "missing"
    if job.recipe["weights"] != "imagenet" or not missing:
        return []
    detail = (
        f"The pre-trained weights of {network.name} are not here and cannot be downloaded. Set "
        f'"network": "{EFFICIENTNET_LITE0}", whose weights are installed, or "weights": "random"; or put '
        f"{' or '.join(network.weights_files)} into {settings.resolved_weights_dir}."
    )
    return [RecipeWarning(pointer="/weights", detail=detail)]


@router.get("", summary="List jobs, newest first")
def list_jobs(
    service: Service,
    status: Annotated[JobStatus | None, Query(description="Only jobs with this status; default: all")] = None,
    dataset: Annotated[
        str | None,
        Query(pattern=TEXT, description="Only jobs that train on this data set, or on one version of it; default: all"),
    ] = None,
    after: After = None,
    limit: Limit = 20,
) -> JobPage:
    with service.db.read() as session:
        found, more = jobs.page(session, status, dataset, after, limit)
    return JobPage(data=[job_view(job) for job in found], has_more=more, next=found[-1].id if more else None)


@router.get("/{job_id}", summary="Get a job")
async def get_job(job_id: JobId, service: Service, caller: Who, wait: Wait) -> JobView:
    return await poll_until(lambda job: job.status in ENDED, lambda: _job(service, job_id), wait, service, caller)


@router.post("/{job_id}/cancel", status_code=202, summary="Cancel a job")
def cancel_job(
    job_id: JobId,
    service: Service,
    keep: Annotated[bool, Query(description="Publish the best epoch as a model first")] = False,
) -> JobView:
    """Cancel a queued job at once, a running one within seconds.

    Until a running job stops, its status is `cancelling`.
    """
    with service.db.write() as session:
        return job_view(job_control.cancel(session, job_id, time.time(), keep))


@router.post("/{job_id}/pause", status_code=202, summary="Pause a job")
def pause_job(job_id: JobId, service: Service) -> JobView:
    """Pause a queued job at once, a running one after it writes a checkpoint.

    Until a running job stops, its status is `running`.
    """
    with service.db.write() as session:
        return job_view(job_control.pause(session, job_id, time.time()))


@router.post("/{job_id}/resume", status_code=202, summary="Resume a paused job")
def resume_job(job_id: JobId, service: Service) -> JobView:
    """Queue the job again; it continues from its last checkpoint."""
    with service.db.write() as session:
        return job_view(job_control.resume(session, job_id, time.time()))


@router.post(
    "/{job_id}/retry", status_code=202, response_model=AcceptedJobView, summary="Retry a failed or cancelled job"
)
def retry_job(job_id: JobId, service: Service, caller: Who, idempotency_key: IdempotencyKey = None) -> Response:
    """Create a job with the same recipe; it continues from the last checkpoint."""

    def make(session: Session) -> CreatedResponse:
        require_space(service.settings)
        job = job_control.retry(session, job_id, time.time(), **_room(service, caller))
        return _accepted(session, job, service.settings)

    return create(service, f"{router.prefix}/retry", caller, idempotency_key, {"job": job_id}, make)


@router.delete("/{job_id}", status_code=204, summary="Delete an ended job")
async def delete_job(
    job_id: JobId,
    service: Service,
    models: Annotated[bool, Query(description="Delete its model too; 409 while an alias points at it")] = False,
) -> None:
    """Delete the job's record, events, checkpoints and logs, by default not its model."""
    job = await run_in_threadpool(_job, service, job_id)
    if models and job.model_id and job.status in ENDED:
        await delete_model(job.model_id, service)
    await run_in_threadpool(_delete, service, job_id)


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
        if _is_told(service, job_id, number):  # or 404, before the stream starts
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
    job = _job(service, job_id)
    title = f"{job.name or job.id}: {job.recipe['network']} on {job.recipe['dataset']}"
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
    job = _job(service, job_id)
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


def _room(service: State, caller: Caller | None) -> dict[str, Any]:
    limits = service.settings
    owner = caller.id if caller else None
    return {"queue_limit": limits.max_queued_jobs, "owner": owner, "owner_limit": limits.max_queued_jobs_per_key}


def _require_dataset(session: Session, service: State, reference: str) -> None:
    """Refuse a data set that no job can load.

    Which versions an uploaded one has, ``jobs.enqueue`` checks.
    """
    name, version = parse_dataset(reference)
    try:
        found = summary(session, service.settings, name)
    except NotFound as error:
        known = (one.name for one in summaries(session, service.settings))
        raise InvalidInput(f"There is no data set {name}; there are {', '.join(known)}.", "/dataset") from error
    if version is not None and found.kind != "uploaded":
        raise InvalidInput(f"{name} was not uploaded, so it has no versions: name it without /{version}.", "/dataset")


def _job(service: State, job_id: str) -> JobView:
    with service.db.read() as session:
        return job_view(jobs.get(session, job_id))


def _delete(service: State, job_id: str) -> None:
    """Delete the checkpoints' rows, then the files, then the job.

    After a crash in between, the job can be deleted again.
    """
    with service.db.write() as session:
        job_control.forget_checkpoints(session, job_id)
    service.store.delete(f"jobs/{job_id}")
    with service.db.write() as session:
        job_control.delete(session, job_id)


def _is_told(service: State, job_id: str, number: int) -> bool:
    """Check whether a client has received every event of an ended job."""
    with service.db.read() as session:
        job = jobs.get(session, job_id)
    return job.status in ENDED and 0 < job.last_event <= number


def _number(last_event_id: str) -> int:
    if not last_event_id:
        return 0
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 10):
        raise InvalidInput("Last-Event-ID must be the id of an event: a whole number.", "header/last-event-id")
    return int(last_event_id)
