"""Upload, inspect and delete data sets."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path as Folder
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core.dataset_references import DATASET_NAME, DATASET_REFERENCE, DATASETS, parse_dataset
from core.db.tables import NEVER
from core.errors import Conflict, InvalidInput, NotFound
from core.repositories import datasets
from core.repositories.api_keys import Caller
from core.repositories.idempotency import CreatedResponse, Make
from core.scopes import Scope
from service.api.dependencies import Service, State
from service.api.idempotency import IdempotencyKey, create
from service.api.parameters import Limit
from service.api.request_deadline import request_deadline
from service.datasets import checkups, contact_sheet, versions
from service.datasets.catalog import DatasetSummary, is_folder, summary
from service.datasets.checkups import CheckupView
from service.datasets.extraction import Sent
from service.datasets.file_store import FileStore
from service.datasets.importer import Built
from service.datasets.layouts.name_groups import MAX_PATTERN, NamePattern
from service.datasets.request_body import BODY, digests, receive
from service.datasets.versions import DatasetCard, VersionPage
from service.security.api_keys import RequireScope, Who
from service.uploads.disk_space import require_space
from service.uploads.resumable import Uploads, require_room_for_body
from service.web.asgi import announced_bytes
from service.web.problems import DESCRIBED

router = APIRouter(
    responses=DESCRIBED, prefix="/datasets", tags=["datasets"], dependencies=[Depends(RequireScope(Scope.TRAIN))]
)
Name = Annotated[str, Path(pattern=DATASET_NAME, description="Name of the data set in recipes")]
Reference = Annotated[
    str, Path(pattern=DATASET_REFERENCE, description="Name of the data set, or a version of it, such as pets/2")
]


class _Options(BaseModel):
    """Query parameters of POST /datasets."""

    name: str = Field(pattern=DATASET_NAME, description="Name of the data set in recipes")
    replace: bool = Field(False, description="Make the next version of a data set of this name")
    upload: str | None = Field(None, description="Id of a complete upload to use instead of a body")
    dry_run: bool = Field(False, description="Check everything without creating the data set; an upload is kept")
    group_pattern: str = Field(
        "",
        max_length=MAX_PATTERN,
        description="Pattern of file names that finds groups, such as `{group}_frame_*`: images of a group stay in one "
        "part",
    )


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
    options: Annotated[_Options, Query()],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a data set from a zip or tar.

    It holds a folder of images per class, with or without `train/` and `test/` above them; or images and a CSV with the
    columns `filename` and `label`; or MNIST's four IDX files. Every image is checked before the response; 422 lists
    every wrong file. Use `POST /uploads` for a large file: it can resume after an interruption.
    """
    if options.group_pattern:
        NamePattern.parse(options.group_pattern)  # before the body is read
    length = announced_bytes(request.scope) if options.upload is None else None  # an upload is on the disk already
    await run_in_threadpool(_check, service, options.name, length)
    if options.dry_run:
        idempotency_key = None  # nothing is made that could be made twice
    if not (options.replace or idempotency_key):  # with a key, the name may be taken by the first of two same requests
        await run_in_threadpool(_refuse_if_taken, service, options.name)
    creation = _DatasetRequest(request, service, caller, idempotency_key, options)
    async with contextmanager_in_threadpool(store_of(service).aside()) as aside:
        if options.upload is not None:
            return await creation.from_upload(options.upload, aside)
        return await creation.from_body(await receive(request, aside, service.settings), aside)


@router.get("/{name:dataset}", summary="Get a data set")
def get_dataset(name: Reference, service: Service) -> DatasetCard | DatasetSummary:
    """Describe one data set, or a version of it.

    An uploaded data set has its classes and the files that were left out. A built-in one or a folder has the fields of
    `GET /datasets`, since nothing reads it before a job does.
    """
    with service.db.read() as session:
        if "/" in name:
            return find_card(session, name)
        found = summary(session, service.settings, name)
        return find_card(session, name) if found.kind == "uploaded" else found


@router.get(
    "/{name:dataset}/samples.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
    summary="Get a contact sheet of a data set",
)
def get_samples(name: Reference, service: Service) -> Response:
    """Draw up to eight images of each of the first eight classes."""
    with service.db.read() as session:
        card, version = find_card(session, name), datasets.find(session, name)
        found = [
            image
            for label, part in contact_sheet.shown(card)
            for image in datasets.page(session, version, label, part, 0, contact_sheet.COLUMNS)[0]
        ]
    files = contact_sheet.Files(found, partial(store_of(service).path, card.name))
    drawn = contact_sheet.draw(card, files, service.settings.max_image_pixels)
    return Response(drawn, media_type="image/png", headers={"ETag": f'"{card.digest}"'})


@router.get("/{name}/versions", summary="List the versions of a data set, newest first")
def list_versions(
    name: Name,
    service: Service,
    after: Annotated[int, Query(ge=1, lt=2**31, description="The previous page's `next`")] = NEVER,
    limit: Limit = 20,
) -> VersionPage:
    with service.db.read() as session:
        find_card(session, name)
        found, more = datasets.versions(session, name, after, limit)
        data = [versions.view(version) for version in found]
    return VersionPage(data=data, has_more=more, next=data[-1].version if more else None)


@router.get("/{name}/checkup", summary="Get the check-up of a data set")
def get_checkup(name: Name, service: Service) -> CheckupView:
    """Return what a worker found in the newest version of the data set.

    Images that show the same picture, probably wrong classes, images that are like no other of their class, and classes
    with few images. Every new version is checked once a worker has no job to train.
    """
    with service.db.read() as session:
        return checkups.find(session, service.settings, name, find_card(session, name).images)


@router.post("/{name}/checkup", status_code=202, summary="Check a data set again")
def request_checkup(name: Name, service: Service) -> CheckupView:
    """Request the check-up of the newest version, for example after one has failed.

    One that waits or runs goes on.
    """
    with service.db.write() as session:
        card = find_card(session, name)
        return checkups.request(session, service.settings, name, card.version, card.images)


@router.delete("/{name:dataset}", status_code=204, summary="Delete an uploaded data set, or a version of it")
def delete_dataset(
    name: Reference,
    service: Service,
    force: Annotated[
        bool, Query(description="Delete it though models were trained on it: they stay, and cannot be trained again")
    ] = False,
) -> None:
    """Delete a version, or a data set with all its versions; 409 while an unfinished job uses it.

    409 also while there are models that were trained on it, unless `force` is true. Without its newest version the data
    set is again what it was before.
    """
    with service.db.write() as session:
        base = find_card(session, name).name
        versions.delete(session, name, force)
    store = store_of(service)
    store.sweep_deleted(service.db)
    store.sweep(service.db, base)


@dataclass(frozen=True)
class _DatasetRequest:
    request: Request
    service: State
    caller: Caller | None
    idempotency_key: str | None
    options: _Options

    async def from_body(self, sent: list[Sent], aside: Folder) -> Response:
        source = {"files": await run_in_threadpool(digests, sent)} if self.idempotency_key else {}
        return await self._build(sent, aside, source)

    async def from_upload(self, upload_id: str, aside: Folder) -> Response:
        """Build the data set from an upload, which it uses up.

        While there is no data set, the upload can be tried again under another name.
        """
        uploads = Uploads(self.service.settings, self.service.db, self.caller)
        source = {"upload": upload_id}
        try:
            async with contextmanager_in_threadpool(uploads.using(upload_id)) as file:
                answer = await self._build([Sent("", file)], aside, source)
                if not self.options.dry_run:
                    await run_in_threadpool(uploads.remove, upload_id)
        except NotFound as error:
            return await run_in_threadpool(self._create, source, partial(_raise, error))  # or the first answer again
        return answer

    async def _build(self, sent: list[Sent], aside: Folder, source: dict[str, Any]) -> Response:
        folder = aside / "built"
        async with request_deadline(self.request, None) as disconnect:
            disconnect.start()
            built = await self.service.builder.build(sent, folder, group_pattern=self.options.group_pattern)
        if self.options.dry_run:
            return await run_in_threadpool(self._foresee, built)
        make = await run_in_threadpool(self._arrange, built, folder)
        return await run_in_threadpool(self._create, source, make)

    def _foresee(self, built: Built) -> Response:
        with self.service.db.read() as session:
            card = versions.foresee(session, self.options.name, built)
        return JSONResponse(card.model_dump(mode="json"))

    def _arrange(self, built: Built, folder: Folder) -> Make:
        arrived = versions.Arrived(built, folder)

        def make(session: Session) -> CreatedResponse:
            card = versions.replace(session, self.service.settings, self.options.name, arrived, self.options.replace)
            headers = {"Location": f"{router.prefix}/{self.options.name}"}
            return CreatedResponse(201, headers, card.model_dump(mode="json"))

        return make

    def _create(self, source: dict[str, Any], make: Make) -> Response:
        body = self.options.model_dump(include={"name", "replace", "group_pattern"}) | source
        return create(self.service, router.prefix, self.caller, self.idempotency_key, body, make)


def _raise(error: NotFound, _session: Session) -> CreatedResponse:
    raise error


def store_of(service: State) -> FileStore:
    """Return where the files of uploaded data sets lie."""
    return FileStore(service.settings.dataset_files_dir)


def _check(service: State, name: str, length: int | None) -> None:
    require_room(service, length)
    if name in DATASETS:
        raise InvalidInput(f"{name} is built in: choose another name.", "query/name")
    if is_folder(service.settings, name):
        raise Conflict(f"{name} is a folder in the data sets' directory: choose another name.")


def require_room(service: State, length: int | None) -> None:
    """Check before the body is read: gigabytes are not sent for nothing."""
    require_space(service.settings)
    if length is not None:
        folder = service.settings.dataset_files_dir
        require_room_for_body(service.settings, service.db, folder, length, time.time())


def _refuse_if_taken(service: State, name: str) -> None:
    with service.db.read() as session:
        if datasets.newest(session, name):
            raise versions.taken(name)


def find_card(session: Session, reference: str) -> DatasetCard:
    """Return the card of an uploaded version; NotFound for others."""
    name, _ = parse_dataset(reference)
    if name in DATASETS:
        raise NotFound(f"{name} is built in: only what was uploaded has versions and samples, and can be deleted.")
    return DatasetCard.model_validate(datasets.find(session, reference).card)
