"""The bodies in which images come: a form, the bytes of one image, or JSON. Nothing is decoded here yet."""

import asyncio
import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from core import images
from core.errors import InvalidInput, Unreachable, UnsupportedType
from core.settings import Settings
from core.urls import MOST_CHARACTERS
from service.patience import while_wanted

if TYPE_CHECKING:
    from service.outbound import Outbound  # imports httpx: see service.app

MOST_URLS = 8  # of one request


@dataclass(frozen=True)
class Source:
    """An image that is not decoded yet. ``decode`` may take long; not where it is ``tiny``."""

    decode: Callable[[], Image.Image]
    tiny: bool = False


class ImageInput(BaseModel):
    """One image: the bytes of a file in base64, its pixels as nested lists, or where to fetch it."""

    model_config = ConfigDict(extra="forbid")

    b64: str | None = Field(None, description="The bytes of an image file.")
    array: list[Any] | None = Field(None, description="[h][w] or [h][w][3], 0..255 or fractions 0..1")
    url: str | None = Field(None, max_length=MOST_CHARACTERS, description="Only where the service fetches URLs.")

    @model_validator(mode="after")
    def _exactly_one(self) -> "ImageInput":
        if [self.b64, self.array, self.url].count(None) != 2:
            raise ValueError('give exactly one of "b64", "array" and "url"')
        return self


class PredictBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    images: list[ImageInput] = Field(min_length=1)


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "Image files; each gets its own answer.",
                        }
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "items": ImageInput.model_json_schema(),
                            "description": "Each gets its own answer, in this order.",
                        }
                    },
                },
                "example": {"images": [{"array": [[0, 0, 0, 0], [0, 255, 255, 0], [0, 0, 255, 0], [0, 0, 255, 0]]}]},
            },
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


async def read_sources(request: Request, settings: Settings) -> list[Source]:
    """The images of the body, not yet decoded. InvalidInput or UnsupportedType says what is wrong with it."""
    sources = await _sources(request, settings)
    if len(sources) > settings.max_images_per_request:
        raise InvalidInput(f"{len(sources)} images in one request; at most {settings.max_images_per_request}.")
    return sources


async def _sources(request: Request, settings: Settings) -> list[Source]:
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    limit = settings.max_image_pixels
    if content_type == "multipart/form-data":
        try:
            async with request.form(max_files=settings.max_images_per_request) as form:
                files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
                if not files:
                    raise InvalidInput("No file was sent: use -F file=@seven.png.", "/file")
                return [_from_bytes(await file.read(), limit) for file in files]
        except HTTPException as error:  # the parser's own: too many files, or no form at all
            raise InvalidInput(error.detail) from error
    if content_type == "application/json":
        body = await run_in_threadpool(_parse, await request.body())  # a large one takes a while
        return await _from_inputs(request, body.images, settings)
    # curl --data-binary names this type by itself; nobody means a form by it here
    if content_type.startswith("image/") or content_type in (
        "application/octet-stream",
        "application/x-www-form-urlencoded",
    ):
        data = await request.body()
        if not data:
            raise InvalidInput("The body is empty: send an image.")
        return [_from_bytes(data, limit)]
    raise UnsupportedType(
        f"{content_type or 'No content type'} is not accepted: send multipart/form-data, application/json, image/* or "
        "application/octet-stream."
    )


def _parse(data: bytes) -> PredictBody:
    try:
        return PredictBody.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        pointer = "".join(f"/{step}" for step in first["loc"])
        raise InvalidInput(f"{pointer or 'body'}: {first['msg'].removeprefix('Value error, ')}", pointer) from error


def _from_bytes(data: bytes, max_pixels: int) -> Source:
    return Source(lambda: images.decode(data, max_pixels), images.is_tiny(data))


async def _from_inputs(request: Request, entries: Sequence[ImageInput], settings: Settings) -> list[Source]:
    """What is to be fetched is fetched here and not by a decoder, whose thread would wait with it."""
    urls = {index: entry.url for index, entry in enumerate(entries) if entry.url is not None}
    fetched = await _fetch_all(request, urls, settings) if urls else {}
    return [fetched.get(index) or _from_input(entry, settings.max_image_pixels) for index, entry in enumerate(entries)]


async def _fetch_all(request: Request, urls: dict[int, str], settings: Settings) -> dict[int, Source]:
    """By the image's place in the request, while the client waits."""
    _refuse_urls(list(urls), settings)
    outbound: Outbound = request.app.state.outbound
    most_bytes = settings.max_body_bytes // len(urls)  # together no more than a body may bring

    async def fetch() -> list[Source]:
        every = [_from_url(outbound, url, most_bytes, settings.max_image_pixels) for url in urls.values()]
        return await asyncio.gather(*every)

    given_ms = request.headers.get("x-timeout-ms")
    sources = await while_wanted(request, fetch(), int(given_ms) if given_ms else None)
    return dict(zip(urls, sources, strict=True))


def _refuse_urls(places: Sequence[int], settings: Settings) -> None:
    """Where they are switched off, and where they are too many."""
    if not settings.fetch_urls:
        reason = "This service fetches no images by URL (TUNESERVE_FETCH_URLS allows it): send the image itself."
        raise InvalidInput(reason, f"/images/{places[0]}/url")
    if len(places) > MOST_URLS:
        reason = f"{len(places)} URLs in one request; at most {MOST_URLS}."
        raise InvalidInput(reason, f"/images/{places[MOST_URLS]}/url")


async def _from_url(outbound: "Outbound", url: str, most_bytes: int, max_pixels: int) -> Source:
    try:
        return _from_bytes(await outbound.get(url, most_bytes), max_pixels)
    except Unreachable as error:
        return _refusing(error)


def _refusing(error: Unreachable) -> Source:
    def refuse() -> Image.Image:
        raise error

    return Source(refuse)


def _from_input(entry: ImageInput, max_pixels: int) -> Source:
    if entry.array is not None:
        return Source(lambda: images.from_array(entry.array))

    def decode() -> Image.Image:
        try:
            data = base64.b64decode(entry.b64 or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput("b64 is not base64.") from error
        return images.decode(data, max_pixels)

    return Source(decode)
