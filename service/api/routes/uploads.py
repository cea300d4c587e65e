"""Routes of resumable uploads by the protocol tus 1.0.0.

The extensions creation and termination of https://tus.io/protocols/resumable-upload are there.
POST /datasets?upload= makes a data set of a complete upload. An upload belongs to the API key that created it.
"""

import base64
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from core import base64_text
from core.errors import ClientClosedRequest, InvalidInput, UnsupportedType
from core.printable import printable
from core.repositories.api_keys import Caller
from core.repositories.idempotency import CreatedResponse
from core.scopes import Scope
from service.api.dependencies import Service, State
from service.api.idempotency import IdempotencyKey, made
from service.api.parameters import After, Limit, UploadId
from service.security.api_keys import RequireScope, Who
from service.uploads.resumable import OpenUpload, Uploads
from service.web.problems import DESCRIBED

VERSION = "1.0.0"
TUS = {"Tus-Resumable": VERSION}
PIECE = "application/offset+octet-stream"
BODY = {"requestBody": {"required": True, "content": {PIECE: {"schema": {"type": "string", "format": "binary"}}}}}
MAX_NAME = 255  # characters
METADATA = "Metadata of tus: `filename` and the file's name in base64; `GET /uploads` shows it"


class UploadView(BaseModel):
    id: str = Field(description="`upload_` and 21 hexadecimal digits; ids sort by age.")
    name: str | None = Field(
        description="Name of the file, as the client sent it in Upload-Metadata; null if it did not."
    )
    owner: str | None = Field(description="Id of the API key that created it; null if there were no keys.")
    offset: int = Field(description="Number of bytes received.")
    length: int = Field(description="Size of the whole file in bytes.")
    created_at: datetime = Field(description="Time of creation, UTC.")
    expires_at: datetime = Field(description="Time at which it is deleted unless a further piece is received, UTC.")


class UploadPage(BaseModel):
    data: list[UploadView] = Field(description="Newest first.")
    has_more: bool = Field(description="Whether older entries follow.")
    next: str | None = Field(description="The value of `after` for the next page; null on the last page.")


def _of_our_version(tus_resumable: Annotated[str, Header(include_in_schema=False)] = VERSION) -> None:
    if tus_resumable != VERSION:
        raise HTTPException(412, f"Only tus {VERSION} is supported.", {"Tus-Version": VERSION})


router = APIRouter(
    responses=DESCRIBED,
    prefix="/uploads",
    tags=["datasets"],
    dependencies=[Depends(RequireScope(Scope.TRAIN, to_read=Scope.TRAIN))],
)
OUR_VERSION = (Depends(_of_our_version),)


@router.options("", status_code=204, summary="Get the supported tus extensions and the size limit")
def get_options(service: Service) -> Response:
    headers = {"Tus-Version": VERSION, "Tus-Extension": "creation,termination"}
    return Response(None, 204, TUS | headers | {"Tus-Max-Size": str(service.settings.max_dataset_bytes)})


@router.get("", summary="List open uploads, newest first")
def list_uploads(service: Service, caller: Who, after: After = None, limit: Limit = 20) -> UploadPage:
    """List the uploads of the caller's API key; with the scope admin, or without keys, all of them."""
    found, following = _uploads(service, caller).page(after, limit)
    return UploadPage(data=[_view(upload) for upload in found], has_more=following is not None, next=following)


@router.post(
    "", status_code=201, response_class=Response, dependencies=OUR_VERSION, summary="Create a resumable upload"
)
def create_upload(
    service: Service,
    caller: Who,
    upload_length: Annotated[int, Header(ge=0, lt=10**18, description="Size of the whole file in bytes")],
    upload_metadata: Annotated[str, Header(description=METADATA)] = "",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create an upload; `PATCH` its `Location` to send the file in pieces.

    After an interruption, `HEAD` returns the offset to continue at. An upload without a new piece for 24 hours is
    deleted, an empty one after 15 minutes; the disk space for its rest is kept for 15 minutes after each piece.
    """
    name = _file_name(upload_metadata)

    def make(session: Session) -> CreatedResponse:
        upload_id = _uploads(service, caller).create(session, upload_length, name, time.time())
        return CreatedResponse(201, TUS | {"Location": f"{router.prefix}/{upload_id}"}, {})

    body = {"length": upload_length, "name": name}
    answer = made(service, router.prefix, caller, idempotency_key, body, make)
    return Response(None, answer.status, answer.headers)


@router.head(
    "/{upload_id}", response_class=Response, dependencies=OUR_VERSION, summary="Get the number of received bytes"
)
def get_upload(upload_id: UploadId, service: Service, caller: Who) -> Response:
    upload = _uploads(service, caller).get(upload_id)
    headers = {"Upload-Length": str(upload.length), "Cache-Control": "no-store"}
    return Response(None, 200, _told(upload) | headers | _metadata(upload.row.name))


@router.patch(
    "/{upload_id}", status_code=204, dependencies=OUR_VERSION, openapi_extra=BODY, summary="Send the next piece"
)
async def append_to_upload(
    upload_id: UploadId,
    request: Request,
    service: Service,
    caller: Who,
    upload_offset: Annotated[
        int, Header(ge=0, description="Number of bytes received so far; 409 if the service has another number")
    ],
) -> Response:
    """Append a piece; the bytes received before an interruption are kept."""
    if request.headers.get("content-type") != PIECE:
        raise UnsupportedType(f"Send pieces with the header Content-Type: {PIECE}.")
    uploads = _uploads(service, caller)
    async with contextmanager_in_threadpool(uploads.writing(upload_id, upload_offset)) as piece:
        async for data in _pieces(request):
            await run_in_threadpool(piece.write, data)
    return Response(None, 204, _told(await run_in_threadpool(uploads.get, upload_id)))


@router.delete("/{upload_id}", status_code=204, dependencies=OUR_VERSION, summary="Delete an upload")
def delete_upload(upload_id: UploadId, service: Service, caller: Who) -> Response:
    """Delete an upload; that of another API key needs the scope admin."""
    _uploads(service, caller).remove(upload_id)
    return Response(None, 204, TUS)


def _uploads(service: State, caller: Caller | None) -> Uploads:
    return Uploads(service.settings, service.db, caller)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    try:
        async for data in request.stream():
            yield data
    except ClientDisconnect as error:
        raise ClientClosedRequest from error


def _file_name(metadata: str) -> str | None:
    """Read the file's name from tus's upload metadata; ignore other keys.

    The metadata are pairs of a key and a base64 value.
    """
    pairs = dict(pair.strip().partition(" ")[::2] for pair in metadata.split(","))
    try:
        name = base64_text.decode(pairs.get("filename", "")).decode()
    except ValueError as error:
        reason = "filename is not UTF-8 in base64: send Upload-Metadata: filename cGV0cy56aXA="
        raise InvalidInput(reason, "header/upload-metadata") from error
    return printable(name)[:MAX_NAME] or None


def _metadata(name: str | None) -> dict[str, str]:
    return {"Upload-Metadata": f"filename {base64.b64encode(name.encode()).decode()}"} if name else {}


def _view(upload: OpenUpload) -> UploadView:
    row = upload.row
    return UploadView(
        id=row.id,
        name=row.name,
        owner=row.owner,
        offset=upload.offset,
        length=row.length,
        created_at=datetime.fromtimestamp(row.created_at, UTC),
        expires_at=datetime.fromtimestamp(upload.expires_at, UTC),
    )


def _told(upload: OpenUpload) -> dict[str, str]:
    return TUS | {"Upload-Offset": str(upload.offset)}
