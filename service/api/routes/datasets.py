"""Upload, inspect and delete data sets."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path as Folder
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core.db.tables import ENDED, OWNED, JobStatus
from core.errors import Conflict, InvalidInput, NotFound
from core.recipe import DATASET_NAME, DATASETS
from core.repositories import jobs
from core.repositories.api_keys import Caller
from core.repositories.idempotency import CreatedResponse, Make
from core.scopes import Scope
from service.api.dependencies import Service, State
from service.api.idempotency import IdempotencyKey, create
from service.api.request_deadline import request_deadline
from service.datasets import contact_sheet
from service.datasets.catalog import DatasetSummary, summary
from service.datasets.extraction import Sent
from service.datasets.importer import Built
from service.datasets.registry import DatasetCard, Registry
from service.datasets.request_body import BODY, digests, receive
from service.security.api_keys import RequireScope, Who
from service.uploads.disk_space import require_space
from service.uploads.resumable import Uploads, require_room_for_body
from service.web.asgi import announced_bytes
from service.web.problems import DESCRIBED

router = APIRouter(
    responses=DESCRIBED, prefix="/datasets", tags=["datasets"], dependencies=[Depends(RequireScope(Scope.TRAIN))]
)
NOT_ENDED = frozenset(JobStatus) - ENDED
Name = Annotated[str, Path(pattern=DATASET_NAME, description="Name of the data set in recipes")]


@router.post(
    "",
    status_code=201,
    response_model=DatasetCard,
    responses={200: {"model": DatasetCard, "description": "With dry_run: the data set that would be created"}},
    openapi_extra=BODY,
    summary="Upload a data set",
)
async def create_dataset(
    request: Request,
    service: Service,
    caller: Who,
    name: Annotated[str, Query(pattern=DATASET_NAME, description="Name of the data set in recipes")],
    replace: Annotated[bool, Query(description="Replace an existing data set of this name")] = False,
    upload: Annotated[str | None, Query(description="Id of a complete upload to use instead of a body")] = None,
    dry_run: Annotated[
        bool, Query(description="Check everything without creating the data set; an upload is kept")
    ] = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a data set from a zip or tar.

    It holds a folder of images per class, with or without `train/` and `test/` above them; or images and a CSV with the
    columns `filename` and `label`; or MNIST's four IDX files. Every image is checked before the response; 422 lists
    every wrong file. Use `POST /uploads` for a large file: it can resume after an interruption.
    """
    registry = _registry(service)
    length = announced_bytes(request.scope) if upload is None else None  # an upload is on the disk already
    await run_in_threadpool(_check, service, name, length)
    if dry_run:
        idempotency_key = None  # nothing is made that could be made twice
    if not (replace or idempotency_key):  # with a key, the name may be taken by the first of two same requests
        _refuse_if_taken(registry, name)
    wish = _Wish(request, service, caller, idempotency_key, name, replace, dry_run)
    async with contextmanager_in_threadpool(registry.aside()) as aside:
        if upload is not None:
            return await wish.from_upload(upload, aside)
        return await wish.from_body(await receive(request, aside, service.settings), aside)


@router.get("/{name}", summary="Get a data set")
def get_dataset(name: Name, service: Service) -> DatasetCard | DatasetSummary:
    """Describe one data set.

    An uploaded data set has its classes and the files that were left out. A built-in one or a folder has the fields of
    `GET /datasets`, since nothing reads it before a job does.
    """
    registry = _registry(service)
    found = summary(name, registry)
    return registry.card(name) if found.kind == "uploaded" else found


@router.get(
    "/{name}/samples.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
    summary="Get a contact sheet of a data set",
)
def get_samples(name: Name, service: Service) -> Response:
    """Draw up to eight images of each of the first eight classes."""
    registry = _registry(service)
    card = _card(name, registry)
    drawn = contact_sheet.draw(card, registry.folder(name), service.settings.max_image_pixels)
    return Response(drawn, media_type="image/png", headers={"ETag": f'"{card.digest}"'})


@router.delete("/{name}", status_code=204, summary="Delete an uploaded data set")
def delete_dataset(name: Name, service: Service) -> None:
    """Delete a data set; 409 while an unfinished job uses it.

    Models that were trained on it are kept.
    """
    registry = _registry(service)
    _card(name, registry)
    with registry.aside() as aside, service.db.write() as session:  # no worker takes a job meanwhile
        _refuse_if_used(session, name, NOT_ENDED)
        registry.remove(name, aside)


@dataclass(frozen=True)
class _Wish:
    request: Request
    service: State
    caller: Caller | None
    idempotency_key: str | None
    name: str
    replace: bool
    dry_run: bool

    async def from_body(self, sent: list[Sent], aside: Folder) -> Response:
        asked = {"files": await run_in_threadpool(digests, sent)} if self.idempotency_key else {}
        return await self._build(sent, aside, asked)

    async def from_upload(self, upload_id: str, aside: Folder) -> Response:
        """Used up by the data set; while there is none, it can be tried again under another name."""
        uploads = Uploads(self.service.settings, self.service.db, self.caller)
        asked = {"upload": upload_id}
        try:
            async with contextmanager_in_threadpool(uploads.using(upload_id)) as file:
                answer = await self._build([Sent("", file)], aside, asked)
                if not self.dry_run:
                    await run_in_threadpool(uploads.remove, upload_id)
        except NotFound as error:
            return await run_in_threadpool(self._create, asked, partial(_raise, error))  # or the first answer again
        return answer

    async def _build(self, sent: list[Sent], aside: Folder, asked: dict[str, Any]) -> Response:
        folder = aside / "built"
        async with request_deadline(self.request, None) as disconnect:
            disconnect.start()
            built = await self.service.builder.build(sent, folder)
        if self.dry_run:
            card = await run_in_threadpool(_registry(self.service).foresee, built, self.name)
            return JSONResponse(card.model_dump(mode="json"))
        make = partial(_place, service=self.service, built=built, folder=folder, name=self.name, replace=self.replace)
        return await run_in_threadpool(self._create, asked, make)

    def _create(self, asked: dict[str, Any], make: Make) -> Response:
        body = {"name": self.name, "replace": self.replace, **asked}
        return create(self.service, router.prefix, self.caller, self.idempotency_key, body, make)


def _raise(error: NotFound, _session: Session) -> CreatedResponse:
    raise error


def _registry(service: State) -> Registry:
    return Registry(service.settings.resolved_datasets_dir)


def _check(service: State, name: str, length: int | None) -> None:
    """Check before the body is read: gigabytes are not sent for nothing."""
    require_space(service.settings)
    if length is not None:
        folder = service.settings.resolved_datasets_dir
        require_room_for_body(service.settings, service.db, folder, length, time.time())
    if name in DATASETS:
        raise InvalidInput(f"{name} is built in: choose another name.", "query/name")


def _place(session: Session, service: State, built: Built, folder: Folder, name: str, replace: bool) -> CreatedResponse:
    """Place the data set inside a write transaction.

    Meanwhile no worker claims a job, and no other upload takes the name.
    """
    registry = _registry(service)
    if not replace:
        _refuse_if_taken(registry, name)
    _refuse_if_used(session, name, OWNED)
    card = registry.place(built, folder, name)
    return CreatedResponse(201, {"Location": f"{router.prefix}/{name}"}, card.model_dump(mode="json"))


def _refuse_if_taken(registry: Registry, name: str) -> None:
    if registry.has(name):
        raise Conflict(f"There is a data set {name} already: add ?replace=true to replace it.")


def _refuse_if_used(session: Session, name: str, statuses: frozenset[JobStatus]) -> None:
    if using := jobs.on_dataset(session, name, statuses):
        raise Conflict(f"{name} is in use: wait for {', '.join(using[:3])}, or cancel it.")


def _card(name: str, registry: Registry) -> DatasetCard:
    if name in DATASETS:
        raise NotFound(f"{name} is built in: only what was uploaded has samples and can be deleted.")
    return registry.card(name)
