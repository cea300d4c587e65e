"""Stream the body of POST /datasets to the disk.

None of it is held in memory.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from core.errors import InvalidInput, UnsupportedType
from core.settings import Settings
from service.datasets.extraction import Sent
from service.uploads.disk_space import DiskReserve
from service.web.form import open_form
from service.web.openapi import BINARY, form_of_files

ARCHIVES = (
    "application/zip",
    "application/x-zip-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-gzip",
    "application/x-gtar",
    "application/octet-stream",
)
Fields = dict[str, str]
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            **dict.fromkeys(("application/zip", "application/x-tar", "application/gzip"), BINARY),
            "multipart/form-data": form_of_files("One archive, or the data set's files themselves."),
        },
    }
}

ADDITION = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": BINARY,
            **dict.fromkeys(("application/zip", "application/x-tar", "application/gzip"), BINARY),
            "multipart/form-data": form_of_files("Images of one class, or one archive.", "class", "part"),
        },
    }
}


async def receive(request: Request, folder: Path, settings: Settings) -> list[Sent]:
    """Receive the files of the body.

    Raise InvalidInput or UnsupportedType, which say what is wrong with it.
    """
    return (await receive_form(request, folder, settings))[0]


async def receive_form(
    request: Request, folder: Path, settings: Settings, also: str = " "
) -> tuple[list[Sent], Fields]:
    """Receive the body's files and the other fields of a form.

    ``also`` is the beginning of one more content type that is accepted.
    """
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _form(request, folder, settings)
    if content_type in ARCHIVES or content_type.startswith(also):
        return [await _stream(request, folder, DiskReserve(settings, folder))], {}
    raise UnsupportedType(
        f"{content_type or 'No content type'} is not accepted: send application/zip, application/x-tar, "
        "application/gzip or multipart/form-data."
    )


def digests(sent: Sequence[Sent]) -> list[tuple[str, str]]:
    """List each file's name and sha256, to recognise the same body."""
    found = []
    for one in sent:
        with one.file.open("rb") as content:
            found.append((one.name, hashlib.file_digest(content, "sha256").hexdigest()))
    return found


async def _stream(request: Request, folder: Path, reserve: DiskReserve) -> Sent:
    sent = Sent("", folder / "body")
    with sent.file.open("wb") as file:
        async for piece in request.stream():
            await run_in_threadpool(reserve.write, file, piece)
    return sent


async def _form(request: Request, folder: Path, settings: Settings) -> tuple[list[Sent], Fields]:
    """The parts wait in temporary files where they are large (Starlette's doing)."""
    spool, reserve = DiskReserve(settings, settings.spool_dir), DiskReserve(settings, folder)
    try:
        async with open_form(request, settings.max_images_per_request, spool.require) as form:
            files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            if not files:
                raise InvalidInput("No file was sent: use -F file=@photos.zip.", "/file")
            sent = [
                await run_in_threadpool(
                    _keep, file.file, Sent(file.filename or "file", folder / f"body-{number}"), reserve
                )
                for number, file in enumerate(files)
            ]
            return sent, {name: value for name, value in form.multi_items() if isinstance(value, str)}
    except HTTPException as error:  # the parser's own: too many files, or no form at all
        raise InvalidInput(f"{error.detail} Put many files into a zip.") from error


def _keep(source: IO[bytes], sent: Sent, reserve: DiskReserve) -> Sent:
    with sent.file.open("wb") as file:
        reserve.copy(source, file)
    return sent
