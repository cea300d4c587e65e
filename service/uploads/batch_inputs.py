"""Stream the bodies of POST /batches into the store and count them.

No body is held in memory.
"""

import hashlib
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import IO, Literal

from fastapi import Request
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from core.artifacts import zip_directory
from core.artifacts.batch_files import Line, Part, may_be_an_image, read_lines, write_parts
from core.artifacts.store import ArtifactStore
from core.errors import InvalidInput, UnsupportedType
from core.settings import Settings
from service.uploads.disk_space import DiskReserve, full_disk_as_no_space
from service.web.form import open_form
from service.web.openapi import BINARY, form_of_files

ZIP = ("application/zip", "application/x-zip-compressed")
MANIFEST = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
MANIFEST_SUFFIXES = (".ndjson", ".jsonl")
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/zip": BINARY,
            "multipart/form-data": form_of_files("Images, and zips of images, in any order."),
            "application/x-ndjson": {
                "schema": Line.model_json_schema(),  # of each line
                "example": '{"id": "one", "array": [[0, 0, 0, 0], [0, 255, 255, 0], [0, 0, 255, 0], [0, 0, 255, 0]]}\n',
            },
        },
    }
}


@dataclass(frozen=True)
class Received:
    parts: list[Part]
    total: int  # images


async def receive(request: Request, store: ArtifactStore, key: str, settings: Settings) -> Received:
    """Store the body in the folder ``key`` and count its images.

    Raise InvalidInput or UnsupportedType, which say what is wrong with it.
    """
    with full_disk_as_no_space():
        parts = await _receive(request, store, key, settings)
        total = await run_in_threadpool(_count, store, key, parts, settings)
        await run_in_threadpool(write_parts, store, key, parts)
    return Received(parts, total)


def digests(store: ArtifactStore, key: str, parts: list[Part]) -> list[tuple[str, str]]:
    """List each part's name and sha256, to recognise the same body."""
    found = []
    for part in parts:
        with store.fetch(f"{key}/{part.file}").open("rb") as file:
            found.append((part.name, hashlib.file_digest(file, "sha256").hexdigest()))
    return found


async def _receive(request: Request, store: ArtifactStore, key: str, settings: Settings) -> list[Part]:
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _form(request, store, key, settings)
    if content_type not in ZIP + MANIFEST:
        raise UnsupportedType(
            f"{content_type or 'No content type'} is not accepted: send application/zip, application/x-ndjson or "
            "multipart/form-data."
        )
    part = Part("zip" if content_type in ZIP else "manifest", "input/0", "")
    reserve = DiskReserve(settings, settings.data_dir)
    async with _writing(store, f"{key}/{part.file}") as file:
        async for piece in request.stream():
            await run_in_threadpool(reserve.write, file, piece)
    return [part]


async def _form(request: Request, store: ArtifactStore, key: str, settings: Settings) -> list[Part]:
    """Store the files of a form.

    Starlette keeps large ones in temporary files until then.
    """
    reserve = DiskReserve(settings, settings.data_dir)
    try:
        async with open_form(request, settings.max_images_per_request, reserve.require) as form:
            files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            if not files:
                raise InvalidInput("No file was sent: use -F file=@images.zip.", "/file")
            return [
                await run_in_threadpool(_keep, store, key, number, file, reserve) for number, file in enumerate(files)
            ]
    except HTTPException as error:  # the parser's own: too many files, or no form at all
        raise InvalidInput(f"{error.detail} Put many images into a zip.") from error


def _keep(store: ArtifactStore, key: str, number: int, sent: UploadFile, reserve: DiskReserve) -> Part:
    source, name = sent.file, sent.filename or ""
    part = Part(_kind(name, source.read(len(zip_directory.STARTS[0]))), f"input/{number}", name)
    source.seek(0)
    with store.writing(f"{key}/{part.file}") as file:
        reserve.copy(source, file)
    return part


def _kind(name: str, start: bytes) -> Literal["zip", "image", "manifest"]:
    if start in zip_directory.STARTS:
        return "zip"
    return "manifest" if PurePosixPath(name).suffix.lower() in MANIFEST_SUFFIXES else "image"


def _writing(store: ArtifactStore, key: str) -> AbstractAsyncContextManager[IO[bytes]]:
    """Open a store object for writing, in a thread.

    A large object takes a while to reach the disk when it is closed.
    """
    return contextmanager_in_threadpool(store.writing(key))


def _count(store: ArtifactStore, key: str, parts: list[Part], settings: Settings) -> int:
    """Count the images that these files claim to hold.

    Raise InvalidInput if there are none or too many.
    """
    images = (image for part in parts for image in _images(store, key, part, settings))
    total = sum(1 for _ in islice(images, settings.max_batch_images + 1))
    if total > settings.max_batch_images:
        raise InvalidInput(f"The body holds more than {settings.max_batch_images} images.")
    if total == 0:
        raise InvalidInput("The body holds no image.")
    return total


def _images(store: ArtifactStore, key: str, part: Part, settings: Settings) -> Iterable[object]:
    path = store.fetch(f"{key}/{part.file}")
    if part.kind == "manifest":
        return read_lines(path, settings.max_body_bytes)
    if part.kind == "image":
        return (part.name,)
    names = zip_directory.names(path, settings.max_zip_directory_bytes)
    return (name for name in names if may_be_an_image(name))
