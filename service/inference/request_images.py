"""Read the images of a request body, without decoding them.

The body is a form, the bytes of one image, or JSON.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, FailFast, Field, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from core import base64_text
from core.errors import InvalidInput, NotAnImage, UnsupportedType, UrlNotReachable
from core.imaging import preparation as images
from core.settings import MAX_IMAGES, Settings
from core.urls import MAX_URL_LENGTH
from service.web.asgi import header
from service.web.form import open_form
from service.web.json_body import read_json
from service.web.openapi import BINARY, form_of_files

if TYPE_CHECKING:
    from service.security.outbound_client import OutboundClient  # imports httpx: see service.lifespan

STRIPPED = frozenset(b"\0\r\n")  # what `curl -d` takes out of a file; every image has some of it
CURL_D = (
    "This is no image any more: curl -d takes line ends and zeros out of a file. Send it by --data-binary @seven.png, "
    "or by -F file=@seven.png."
)
MAX_URLS = 8  # of one request
SMALL_JSON = 64 * 2**10  # bytes that are read in about a millisecond


@dataclass(frozen=True)
class EncodedImage:
    """An undecoded image; ``read`` gives its file's bytes or the picture."""

    read: Callable[[], bytes | Image.Image]


@dataclass(frozen=True)
class Url:
    """The URL of an image to fetch."""

    url: str


class ImageInput(BaseModel):
    """One image: the bytes of a file in base64, its pixels as nested lists, or where to fetch it."""

    model_config = ConfigDict(extra="forbid")

    b64: str | None = Field(None, description="The bytes of an image file.")
    array: list[Any] | None = Field(None, max_length=2**15, description="[h][w] or [h][w][3], 0..255 or fractions 0..1")
    url: str | None = Field(None, max_length=MAX_URL_LENGTH, description="Only where the service fetches URLs.")

    @model_validator(mode="after")
    def _exactly_one(self) -> "ImageInput":
        if [self.b64, self.array, self.url].count(None) != 2:
            raise ValueError('give exactly one of "b64", "array" and "url"')
        return self


class PredictBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    images: Annotated[list[ImageInput], FailFast(), Field(min_length=1, max_length=MAX_IMAGES)]


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": form_of_files("Image files; each gets its own answer."),
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
            "image/png": BINARY,
            "application/octet-stream": BINARY,
        },
    }
}


async def read_images(request: Request, settings: Settings) -> Sequence[EncodedImage | Url]:
    """Read the body's images, not yet fetched or decoded.

    Raise InvalidInput or UnsupportedType, which say what is wrong with it.
    """
    given = await _given(request, settings)
    if len(given) > settings.max_images_per_request:
        raise InvalidInput(f"{len(given)} images in one request; at most {settings.max_images_per_request}.")
    _check_urls([place for place, entry in enumerate(given) if isinstance(entry, Url)], settings)
    return given


async def fetch_all(
    given: Sequence[EncodedImage | Url], outbound: "OutboundClient | None", settings: Settings
) -> list[EncodedImage]:
    """Fetch the images that are given by URL.

    A decoder does not fetch them: its thread would wait with it.
    """
    urls = sum(isinstance(entry, Url) for entry in given)
    if not urls:
        return [entry for entry in given if isinstance(entry, EncodedImage)]
    assert outbound is not None  # else read_images has refused them
    max_bytes = settings.max_body_bytes // urls  # together no more than a body may bring

    async def fetched(entry: EncodedImage | Url) -> EncodedImage:
        if isinstance(entry, EncodedImage):
            return entry
        return await _from_url(outbound, entry.url, max_bytes)

    return await asyncio.gather(*(fetched(entry) for entry in given))


async def _given(request: Request, settings: Settings) -> Sequence[EncodedImage | Url]:
    content_type = header(request.scope, b"content-type").split(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        try:
            async with open_form(request, settings.max_images_per_request) as form:
                files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
                if not files:
                    raise InvalidInput("No file was sent: use -F file=@seven.png.", "/file")
                return [from_bytes(await file.read()) for file in files]
        except HTTPException as error:  # the parser's own: too many files, or no form at all
            raise InvalidInput(error.detail) from error
    if content_type == "application/json":
        return [_from_input(entry) for entry in await _json_images(request, settings.max_json_bytes)]
    # curl --data-binary names this type by itself; nobody means a form by it here
    if content_type.startswith("image/") or content_type in (
        "application/octet-stream",
        "application/x-www-form-urlencoded",
    ):
        data = await request.body()
        if not data:
            raise InvalidInput("The body is empty: send an image.")
        if content_type == "application/x-www-form-urlencoded" and STRIPPED.isdisjoint(data):
            raise NotAnImage(CURL_D)
        return [from_bytes(data)]
    raise UnsupportedType(
        f"{content_type or 'No content type'} is not accepted: send multipart/form-data (curl -F file=@seven.png), "
        "application/json, or one image as image/* or application/octet-stream (curl --data-binary @seven.png)."
    )


async def _json_images(request: Request, max_bytes: int) -> list[ImageInput]:
    """Read a small body at once, and any other in a thread."""
    data = await request.body()
    if len(data) <= SMALL_JSON:
        return read_json(PredictBody, data, max_bytes).images
    return (await run_in_threadpool(read_json, PredictBody, data, max_bytes)).images


def from_bytes(data: bytes) -> EncodedImage:
    """Take the bytes of an image file as they came."""
    return EncodedImage(lambda: data)


def _check_urls(places: Sequence[int], settings: Settings) -> None:
    """Refuse URLs where fetching is switched off, and too many."""
    if places and not settings.fetch_urls:
        reason = "This service fetches no images by URL (TUNESERVE_FETCH_URLS allows it): send the image itself."
        raise InvalidInput(reason, f"/images/{places[0]}/url")
    if len(places) > MAX_URLS:
        reason = f"{len(places)} URLs in one request; at most {MAX_URLS}."
        raise InvalidInput(reason, f"/images/{places[MAX_URLS]}/url")


async def _from_url(outbound: "OutboundClient", url: str, max_bytes: int) -> EncodedImage:
    try:
        return from_bytes(await outbound.get(url, max_bytes))
    except UrlNotReachable as error:
        return _refusing(error)


def _refusing(error: UrlNotReachable) -> EncodedImage:
    def refuse() -> Image.Image:
        raise error

    return EncodedImage(refuse)


def _from_input(entry: ImageInput) -> EncodedImage | Url:
    if entry.url is not None:
        return Url(entry.url)
    if entry.array is not None:
        return EncodedImage(lambda: images.from_array(entry.array))

    return EncodedImage(lambda: base64_text.decode(entry.b64 or ""))
