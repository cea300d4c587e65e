"""Routes of the images of an uploaded data set.

Images are listed, added, moved and removed; each change makes the data set's next version.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core.artifacts.dataset_files import StoredImage
from core.errors import InvalidInput, TooLarge
from core.repositories import datasets
from core.repositories.idempotency import CreatedResponse
from core.scopes import Scope
from service.api.dependencies import Service, State
from service.api.idempotency import IdempotencyKey, create
from service.api.parameters import TEXT, Limit
from service.api.request_deadline import request_deadline
from service.api.routes.datasets import Name, Reference, find_card, require_room, store_of
from service.datasets import contact_sheet, versions
from service.datasets.images import class_refusal
from service.datasets.importer import Addition
from service.datasets.layouts.parts import Part
from service.datasets.request_body import ADDITION, digests, receive_form
from service.datasets.versions import Arrived, DatasetCard, Place
from service.security.api_keys import RequireScope, Who
from service.web.asgi import announced_bytes
from service.web.json_body import json_of, read_json
from service.web.problems import DESCRIBED

router = APIRouter(
    responses=DESCRIBED, prefix="/datasets", tags=["datasets"], dependencies=[Depends(RequireScope(Scope.TRAIN))]
)
MAX_IMAGES = 1_000  # that one request moves or removes
MAX_CHANGE_BYTES = 64 * 2**10
CLASS = "Class of the images"
ImageId = Annotated[int, Path(ge=1, lt=2**31, description="Number of the image, from GET /datasets/{name}/images")]
OnePart = Annotated[Part | None, Query(description="Only images of this part; default: all")]
Changed = TypeVar("Changed", bound=BaseModel)


class ImageView(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)

    id: int = Field(description="Number of the image within its data set, the same in all versions.")
    label: str = Field(alias="class", description="Class of the image.")
    part: Part = Field(description="Part: train, val (selects the best epoch) or test.")
    file: str = Field(description="Name of the file as sent.")
    digest: str = Field(description="SHA-256 of the file.")
    thumbnail: str = Field(description="Path of a small picture of it.")


class ImagePage(BaseModel):
    data: list[ImageView] = Field(description="The images of this page, by number.")
    has_more: bool = Field(description="Whether more images follow.")
    next: int | None = Field(description="The value of `after` for the next page; null on the last page.")


class Move(BaseModel):
    """The class and the part that an image goes to."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(alias="class", min_length=1, max_length=200, pattern=TEXT, description="Class that it goes to.")
    part: Part | None = Field(None, description="Part that it goes to: train, val or test; default: it stays.")


class MoveMany(Move):
    """The class and the part that several images go to."""

    images: list[int] = Field(min_length=1, max_length=MAX_IMAGES, description="Numbers of the images.")


@router.get("/{name:dataset}/images", summary="List the images of a data set")
def list_images(
    name: Reference,
    service: Service,
    label: Annotated[
        str | None, Query(alias="class", max_length=200, pattern=TEXT, description="Only images of this class")
    ] = None,
    part: OnePart = None,
    after: Annotated[int, Query(ge=0, lt=2**31, description="The previous page's `next`")] = 0,
    limit: Limit = 20,
) -> ImagePage:
    """List the images of a version, by default of the newest."""
    with service.db.read() as session:
        versions.refuse_idx(find_card(session, name))
        version = datasets.find(session, name)
        found, more = datasets.page(session, version, label, part, after, limit)
    return ImagePage(
        data=[_view(version.dataset, image) for image in found],
        has_more=more,
        next=found[-1].number if more else None,
    )


@router.get(
    "/{name}/images/{image_id}/thumbnail.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
    summary="Get a small picture of an image",
)
def get_thumbnail(name: Name, image_id: ImageId, service: Service) -> Response:
    """Return the middle square of the image as a training sees it, 112 pixels wide."""
    with service.db.read() as session:
        versions.refuse_idx(find_card(session, name))
        digest = datasets.digest_of(session, name, image_id)
    file = store_of(service).path(name, digest)
    drawn = contact_sheet.thumbnail(file, service.settings.max_image_pixels)
    return Response(drawn, media_type="image/png", headers={"ETag": f'"{digest}"'})


@router.post(
    "/{name}/images",
    status_code=201,
    response_model=DatasetCard,
    openapi_extra=ADDITION,
    summary="Add images to a data set",
)
async def add_images(
    request: Request,
    name: Name,
    service: Service,
    caller: Who,
    label: Annotated[
        str | None,
        Query(alias="class", max_length=200, pattern=TEXT, description=f"{CLASS}; or a field `class` of the form"),
    ] = None,
    part: Annotated[Part | None, Query(description="Part of the images; default: train")] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make the next version of the data set, with these images too.

    With a class, the body is an image or a form of images. Without, it is a zip or tar as for `POST /datasets`, whose
    folders or table give the classes. Images that are there already, in the same class and part, are left out.
    """
    await run_in_threadpool(_check, service, name, announced_bytes(request.scope))
    async with contextmanager_in_threadpool(store_of(service).aside()) as aside:
        sent, fields = await receive_form(request, aside, service.settings, also="image/")
        addition = _addition(label or fields.get("class"), part or fields.get("part") or "train")
        body: dict[str, Any] = {"name": name, "class": addition.label, "part": addition.part}
        if idempotency_key:
            body["files"] = await run_in_threadpool(digests, sent)
        folder = aside / "built"
        async with request_deadline(request, None) as disconnect:
            disconnect.start()
            built = await service.builder.build(sent, folder, addition)
        arrived = await run_in_threadpool(Arrived, built, folder)

        def make(session: Session) -> CreatedResponse:
            card = versions.add(session, service.settings, name, arrived)
            location = f"{router.prefix}/{name}/{card.version}"
            return CreatedResponse(201, {"Location": location}, card.model_dump(mode="json"))

        path = f"{router.prefix}/images"
        return await run_in_threadpool(create, service, path, caller, idempotency_key, body, make)


@router.patch("/{name}/images/{image_id}", openapi_extra=json_of(Move), summary="Move an image to another class")
async def move_image(request: Request, name: Name, image_id: ImageId, service: Service) -> DatasetCard:
    """Make the next version of the data set, with the image in another class, or in another part."""
    move = await _body(request, Move)
    return await _moved(service, name, [image_id], move)


@router.patch("/{name}/images", openapi_extra=json_of(MoveMany), summary="Move images to another class")
async def move_images(request: Request, name: Name, service: Service) -> DatasetCard:
    """Make the next version of the data set, with up to 1,000 images in another class, or in another part."""
    move = await _body(request, MoveMany)
    return await _moved(service, name, move.images, move)


@router.delete("/{name}/images/{image_id}", summary="Remove an image from a data set")
async def remove_image(name: Name, image_id: ImageId, service: Service) -> DatasetCard:
    """Make the next version of the data set, without the image; older versions keep it."""
    return await _removed(service, name, [image_id])


@router.delete("/{name}/images", summary="Remove images from a data set")
async def remove_images(
    name: Name,
    service: Service,
    ids: Annotated[
        list[Annotated[int, Field(ge=1, lt=2**31)]],
        Query(alias="id", min_length=1, max_length=MAX_IMAGES, description="Number of an image; repeatable"),
    ],
) -> DatasetCard:
    """Make the next version of the data set, without up to 1,000 images; older versions keep them."""
    return await _removed(service, name, ids)


async def _moved(service: State, name: str, numbers: Collection[int], move: Move) -> DatasetCard:
    place = Place(move.label, move.part)
    return await run_in_threadpool(_change, service, partial(versions.move, name=name, numbers=numbers, place=place))


async def _removed(service: State, name: str, numbers: Collection[int]) -> DatasetCard:
    return await run_in_threadpool(_change, service, partial(versions.remove, name=name, numbers=numbers))


def _check(service: State, name: str, length: int) -> None:
    with service.db.read() as session:
        versions.refuse_idx(find_card(session, name))
    require_room(service, length)


def _change(service: State, change: Callable[..., DatasetCard]) -> DatasetCard:
    with service.db.write() as session:
        return change(session=session, settings=service.settings)


async def _body(request: Request, model: type[Changed]) -> Changed:
    """Read a small JSON body.

    Bodies below /datasets may otherwise be of any size.
    """
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_CHANGE_BYTES:
            raise TooLarge(f"The body is larger than {MAX_CHANGE_BYTES} bytes.")
    return read_json(model, bytes(data), MAX_CHANGE_BYTES)


def _addition(label: str | None, part: str) -> Addition:
    if part not in ("train", "val", "test"):
        raise InvalidInput("/part: must be train, val or test.", "/part")
    if label is not None and (reason := class_refusal(label)):
        raise InvalidInput(reason, "/class")
    return Addition(label, cast(Part, part))


def _view(name: str, image: StoredImage) -> ImageView:
    return ImageView.model_validate(
        {
            "id": image.number,
            "class": image.label,
            "part": image.part,
            "file": image.file,
            "digest": image.digest,
            "thumbnail": f"{router.prefix}/{name}/images/{image.number}/thumbnail.png",
        }
    )
