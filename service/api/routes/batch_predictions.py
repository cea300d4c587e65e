"""Batch predictions: POST many images, and a worker answers them."""

import time
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from core.artifacts.batch_files import read_answers
from core.db.tables import Batch, BatchStatus
from core.errors import Conflict, Forbidden
from core.ids import new_id
from core.imaging.preparation import Preprocess
from core.repositories import batch_predictions
from core.repositories.api_keys import Caller
from core.repositories.idempotency import REPLAYED, CreatedResponse
from core.repositories.models import find_whole
from core.scopes import Scope
from service.api.dependencies import Service, State
from service.api.idempotency import IdempotencyKey, create
from service.api.long_polling import poll_until
from service.api.parameters import PREPROCESS, After, AskedModel, BatchId, Limit, TopK
from service.api.schemas.batches import BatchPage, BatchView, batch_view
from service.api.waiting import Wait
from service.security.api_keys import RequireScope, Who
from service.uploads.batch_inputs import BODY, Received, digests, receive
from service.uploads.disk_space import require_space
from service.uploads.resumable import require_room_for_body
from service.web.asgi import announced_bytes
from service.web.problems import DESCRIBED

router = APIRouter(
    responses=DESCRIBED,
    prefix="/batches",
    tags=["predict"],
    dependencies=[Depends(RequireScope(Scope.PREDICT, to_read=Scope.PREDICT))],
)
NDJSON = "application/x-ndjson"


@router.post(
    "",
    status_code=202,
    response_model=BatchView,
    openapi_extra=BODY,
    summary="Classify many images in the background",
)
async def create_batch(
    request: Request,
    service: Service,
    caller: Who,
    model: AskedModel,
    top_k: TopK = 3,
    preprocess: Annotated[Preprocess, Query(description=PREPROCESS)] = "auto",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Queue a batch of images for a worker.

    Send a zip (`--data-binary @images.zip -H 'Content-Type: application/zip'`), a form with zips and images
    (`-F file=@images.zip`, repeatable) or JSON lines. Poll the `Location`. Seven days after its end a batch is deleted
    with its answers, unless the service is set up otherwise.
    """
    batch_id = new_id("batch", time.time())
    key = batch_predictions.key_of(batch_id)
    options = {"model": model, "top_k": top_k, "preprocess": preprocess}
    await run_in_threadpool(_check, service, model, announced_bytes(request.scope))
    with ExitStack() as undo:
        undo.callback(service.store.delete, key)
        received = await receive(request, service.store, key, service.settings)

        def answer() -> Response:
            body = options | {"parts": digests(service.store, key, received.parts)} if idempotency_key else None
            make = partial(
                _enqueue, service=service, caller=caller, batch_id=batch_id, options=options, received=received
            )
            return create(service, router.prefix, caller, idempotency_key, body, make)

        answered = await run_in_threadpool(answer)
        if not any(name in answered.headers for name in REPLAYED):
            undo.pop_all()
    return answered


@router.get("", summary="List batches, newest first")
def list_batches(
    service: Service,
    caller: Who,
    status: Annotated[BatchStatus | None, Query(description="Only batches with this status; default: all")] = None,
    after: After = None,
    limit: Limit = 20,
) -> BatchPage:
    """List all batches with the scope read, else those of the caller's key."""
    owner = None if caller is None or caller.may(Scope.READ) else caller.id
    with service.db.read() as session:
        found, more = batch_predictions.page(session, status, after, limit, owner)
    return BatchPage(data=[batch_view(batch) for batch in found], has_more=more, next=found[-1].id if more else None)


@router.get("/{batch_id}", summary="Get a batch")
async def get_batch(batch_id: BatchId, service: Service, caller: Who, wait: Wait) -> BatchView:
    ended = batch_predictions.ENDED
    return await poll_until(
        lambda batch: batch.status in ended, lambda: _view(service, batch_id, caller), wait, service, caller
    )


@router.get(
    "/{batch_id}/results",
    response_class=StreamingResponse,
    responses={200: {"content": {NDJSON: {}}}},
    summary="Get the results so far as JSON lines",
)
def get_results(batch_id: BatchId, service: Service, caller: Who) -> StreamingResponse:
    """Stream one JSON line per image, in the images' order.

    A line has `index`, `name` or `id`, and the fields of a /predict prediction or the image's own `error`. A `warning`
    of the code `name_encoding` says that the zip does not name the encoding of the name.
    """
    with service.db.read() as session:
        batch = _batch(session, batch_id, caller, Scope.READ)
    if batch.files_deleted_at is not None:
        raise Conflict(f"The answers of {batch_id} are being deleted.")
    return StreamingResponse(read_answers(service.store, batch.key, batch.done), media_type=NDJSON)


@router.post("/{batch_id}/cancel", status_code=202, summary="Cancel a batch")
def cancel_batch(batch_id: BatchId, service: Service, caller: Who) -> BatchView:
    """Cancel a batch at once; its results so far are kept.

    The scope admin is required for a batch of another key.
    """
    with service.db.write() as session:
        _batch(session, batch_id, caller, Scope.ADMIN)
        return batch_view(batch_predictions.cancel(session, batch_id, time.time()))


@router.delete("/{batch_id}", status_code=204, summary="Delete an ended batch with its images and results")
def delete_batch(batch_id: BatchId, service: Service, caller: Who) -> None:
    """Delete a batch; the scope admin is required for one of another key."""
    with service.db.write() as session:
        _batch(session, batch_id, caller, Scope.ADMIN)
        batch = batch_predictions.delete_files(session, batch_id, time.time())
    service.store.delete(batch.key)
    with service.db.write() as session:
        batch_predictions.delete(session, batch_id)


def _check(service: State, reference: str | None, length: int) -> None:
    """Check disk space and model before a large body is read."""
    require_space(service.settings)
    require_room_for_body(service.settings, service.db, service.settings.data_dir, length, time.time())
    with service.db.read() as session:
        find_whole(session, reference)


def _enqueue(
    session: Session,
    service: State,
    caller: Caller | None,
    batch_id: str,
    options: dict[str, Any],
    received: Received,
) -> CreatedResponse:
    batch = batch_predictions.enqueue(
        session,
        batch_id,
        options,
        received.total,
        time.time(),
        service.settings.max_queued_batches,
        owner=caller.id if caller else None,
        owner_limit=service.settings.max_queued_batches_per_key,
    )
    headers = {"Location": f"/batches/{batch_id}", "Retry-After": "2"}
    return CreatedResponse(202, headers, batch_view(batch).model_dump(mode="json"))


def _view(service: State, batch_id: str, caller: Caller | None) -> BatchView:
    with service.db.read() as session:
        return batch_view(_batch(session, batch_id, caller, Scope.READ))


def _batch(session: Session, batch_id: str, caller: Caller | None, for_others: Scope) -> Batch:
    """Find a batch of the caller's key, or anybody's with that scope.

    NotFound to whom others' batches are none of their business, Forbidden to whom they are to see.
    """
    batch = batch_predictions.get(session, batch_id)
    if caller is None or caller.id == batch.owner or caller.may(for_others):
        return batch
    if caller.may(Scope.READ):
        raise Forbidden(
            f"{batch_id} belongs to another API key, and the key {caller.name} lacks the scope {for_others}."
        )
    raise batch_predictions.unknown(batch_id)
