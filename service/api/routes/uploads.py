"""Resumable uploads: tus 1.0.0 with the extensions creation and termination; https://tus.io/protocols/resumable-upload

POST /datasets?upload= makes a data set of a complete upload. An upload belongs to the API key that created it.
"""

import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from core.errors import ClientClosedRequest, UnsupportedType
from core.repositories.api_keys import Caller
from core.repositories.idempotency import CreatedResponse
from core.scopes import Scope
from service.api.dependencies import Service, State
from service.api.idempotency import IdempotencyKey, made
from service.api.parameters import UploadId
from service.security.api_keys import RequireScope, Who
from service.uploads.resumable import OpenUpload, Uploads
from service.web.problems import DESCRIBED

VERSION = "1.0.0"
TUS = {"Tus-Resumable": VERSION}
PIECE = "application/offset+octet-stream"
BODY = {"requestBody": {"required": True, "content": {PIECE: {"schema": {"type": "string", "format": "binary"}}}}}


def _of_our_version(tus_resumable: Annotated[str, Header(include_in_schema=False)] = VERSION) -> None:
    if tus_resumable != VERSION:
        raise HTTPException(412, f"Only tus {VERSION} is spoken here.", {"Tus-Version": VERSION})


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


@router.post(
    "", status_code=201, response_class=Response, dependencies=OUR_VERSION, summary="Create a resumable upload"
)
def create_upload(
    service: Service,
    caller: Who,
    upload_length: Annotated[int, Header(ge=0, lt=10**18, description="Size of the whole file in bytes")],
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create an upload; `PATCH` its `Location` to send the file in pieces.

    After an interruption, `HEAD` returns the offset to continue at. An upload without a new piece for 24 hours is
    deleted.
    """

    def make(session: Session) -> CreatedResponse:
        upload = _uploads(service, caller).create(session, upload_length, time.time())
        return CreatedResponse(201, TUS | {"Location": f"{router.prefix}/{upload.id}"}, {})

    answer = made(service, router.prefix, caller, idempotency_key, {"length": upload_length}, make)
    return Response(None, answer.status, answer.headers)


@router.head(
    "/{upload_id}", response_class=Response, dependencies=OUR_VERSION, summary="Get the number of received bytes"
)
def get_upload(upload_id: UploadId, service: Service, caller: Who) -> Response:
    upload = _uploads(service, caller).get(upload_id)
    return Response(None, 200, _told(upload) | {"Upload-Length": str(upload.length), "Cache-Control": "no-store"})


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


def _told(upload: OpenUpload) -> dict[str, str]:
    return TUS | {"Upload-Offset": str(upload.offset)}
