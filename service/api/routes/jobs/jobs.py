"""Create, list, control and delete training jobs."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core.artifacts import weight_files
from core.dataset_references import parse_dataset
from core.db.tables import ENDED, Job, JobStatus
from core.errors import InvalidInput, NotFound
from core.networks import EFFICIENTNET_LITE0, NETWORKS, lookup
from core.recipes.presets import ACCURATE_NETWORKS
from core.recipes.recipe import Recipe
from core.repositories import events, job_control, jobs, models
from core.repositories.api_keys import Caller
from core.repositories.idempotency import CreatedResponse
from core.scopes import Scope
from core.settings import Settings
from service.api.dependencies import Service, State
from service.api.idempotency import IdempotencyKey, create
from service.api.long_polling import poll_until
from service.api.parameters import TEXT, After, JobId, Limit
from service.api.routes.models import delete_model
from service.api.schemas.jobs import AcceptedJobView, JobPage, JobView, RecipeWarning, job_view
from service.api.waiting import Wait
from service.datasets.catalog import summaries, summary
from service.security.api_keys import RequireScope, Who
from service.uploads.disk_space import require_space
from service.web.json_body import JsonRoute
from service.web.problems import DESCRIBED

router = APIRouter(
    route_class=JsonRoute,
    responses=DESCRIBED,
    prefix="/jobs",
    tags=["jobs"],
    dependencies=[Depends(RequireScope(Scope.TRAIN))],
)


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

    body = recipe.model_dump(mode="json", exclude_unset=True)
    return create(service, router.prefix, caller, idempotency_key, body, make)


def _with_weights_at_hand(recipe: Recipe, settings: Settings) -> Recipe:
    """Choose the network of the preset "accurate".

    It is the first that fits and whose weights need no download.
    """
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
