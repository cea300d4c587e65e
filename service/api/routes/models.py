"""Models: what training made."""

import json
import time
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse, HTMLResponse
from starlette.concurrency import run_in_threadpool

from core.artifacts.model_files import FP32_GRAPH, REPORT, TORCH_EXPORT, WEIGHTS
from core.db.tables import Export, ExportStatus, Model
from core.errors import Conflict, NotFound, NotReady
from core.ids import MODEL_ID
from core.repositories import aliases, exports, models, workers
from core.repositories.api_keys import Caller
from core.scopes import Scope
from service.api.dependencies import Service, State
from service.api.long_polling import poll_until
from service.api.parameters import TEXT, Limit, ModelReference
from service.api.schemas.models import ModelPage, ModelView, model_view
from service.reports.model_page import POLICY, page
from service.security.api_keys import RequireScope, Who
from service.web.problems import DESCRIBED

router = APIRouter(
    responses=DESCRIBED, prefix="/models", tags=["models"], dependencies=[Depends(RequireScope(Scope.TRAIN))]
)
FORMATS = {"safetensors": WEIGHTS, "onnx": FP32_GRAPH}
MAKING_S = 60.0  # how long an answer waits for a file that is made for it


@router.get("", summary="List models, newest first")
def list_models(
    service: Service,
    name: Annotated[str | None, Query(max_length=64, pattern=TEXT, description="Only versions of this name")] = None,
    after: Annotated[str | None, Query(pattern=f"^{MODEL_ID}$", description="The previous page's `next`")] = None,
    limit: Limit = 20,
) -> ModelPage:
    with service.db.read() as session:
        found, more = models.page(session, name, after, limit)
        named = aliases.by_model(session, *(model.id for model in found))
    return ModelPage(
        data=[model_view(model, named) for model in found], has_more=more, next=found[-1].id if more else None
    )


def _delete_files(service: State, reference: str) -> str:
    with service.db.write() as session:
        model = models.delete_files(session, reference, time.time())
        if service.reloader.serves(model.id):
            raise Conflict(f"{model.id} answers for {model.name} at this moment, in the place of another version.")
    service.store.delete(model.key)
    return model.id


def _delete_record(service: State, model_id: str) -> None:
    with service.db.write() as session:
        models.delete(session, model_id, time.time())


@router.get("/{reference:model}/content", summary="Download a model file")
async def get_content(
    reference: ModelReference,
    service: Service,
    caller: Who,
    format: Annotated[
        str,
        Query(
            pattern="^(safetensors|onnx|torch_export)$", description="File format: safetensors, onnx or torch_export"
        ),
    ] = "safetensors",
) -> FileResponse:
    """Download a model file.

    A worker makes `torch_export` on the first request, in about 30 s for a ResNet-50. Until then, or without a worker,
    the response is 503.
    """
    if format == "torch_export":
        return await _program(service, caller, reference)
    return await run_in_threadpool(_file, service, reference, format)


async def _program(service: State, caller: Caller | None, reference: str) -> FileResponse:
    model = await run_in_threadpool(_want, service, reference)
    with service.listeners.one(caller):
        export = await poll_until(
            lambda seen: seen.status is not ExportStatus.QUEUED,
            lambda: _export(service, model.id),
            MAKING_S,
            service,
            caller,
        )
    if export.status is ExportStatus.FAILED:
        raise Conflict(f"{model.id} could not be exported: {export.error}")
    if export.status is ExportStatus.QUEUED:
        raise NotReady(f"The program of {model.id} is not made yet, since the workers are busy: try again later.")
    path = service.store.fetch(f"{model.key}/{TORCH_EXPORT}")
    return FileResponse(path, media_type="application/octet-stream", filename=f"{model.id}.pt2")


def _want(service: State, reference: str) -> Model:
    now = time.time()
    with service.db.write() as session:
        model = exports.request(session, reference, now)
        made = exports.get(session, model.id).status is ExportStatus.SUCCEEDED
        if not made and not workers.count_live(session, now, service.settings.lease_s):
            raise NotReady("A worker makes this file, and none is alive: start one with python -m worker.")
    return model


def _export(service: State, model_id: str) -> Export:
    with service.db.read() as session:
        return exports.get(session, model_id)


def _file(service: State, reference: str, format: str) -> FileResponse:
    with service.db.read() as session:
        model = models.find_whole(session, reference)
    if FORMATS[format] not in model.card["files"]:
        raise NotFound(f"{model.id} has no file in the format {format}.")
    path = service.store.fetch(f"{model.key}/{FORMATS[format]}")
    return FileResponse(path, media_type="application/octet-stream", filename=f"{model.id}{path.suffix}")


@router.get("/{reference:model}/report", summary="Get a model's evaluation report")
@router.get("/{reference:model}/report.json", include_in_schema=False)
def get_report(reference: ModelReference, service: Service) -> FileResponse:
    """Return the evaluation report.

    It holds the calibration curve, the learning curves and the worst mistakes with their images (PNG in base64).
    """
    return FileResponse(_report(service, reference)[1], media_type="application/json")


@router.get(
    "/{reference:model}/report.html", response_class=HTMLResponse, summary="Get the evaluation report as a page"
)
def get_report_page(reference: ModelReference, service: Service) -> HTMLResponse:
    """Return the report as one HTML file with all its pictures."""
    model, path = _report(service, reference)
    return HTMLResponse(
        page(f"{model.name}/{model.version}", json.loads(path.read_bytes())),
        headers={"Content-Security-Policy": POLICY},
    )


def _report(service: State, reference: str) -> tuple[Model, Path]:
    with service.db.read() as session:
        model = models.find_whole(session, reference)
    if REPORT not in model.card["files"]:
        raise NotFound(f"{model.id} has no report.")
    return model, service.store.fetch(f"{model.key}/{REPORT}")


@router.get("/{reference:model}", summary="Get a model")
def get_model(reference: ModelReference, service: Service) -> ModelView:
    """Return one model.

    By its id, as `pets` (the serving version), `pets/3` (a version), `pets@latest` (the newest) or `pets@best` (the
    most accurate one with the same test images as the newest).
    """
    with service.db.read() as session:
        model = models.find(session, reference)
        return model_view(model, aliases.by_model(session, model.id))


@router.delete("/{reference:model}", status_code=204, summary="Delete a model, or only its files")
async def delete_model(
    reference: ModelReference,
    service: Service,
    files_only: Annotated[
        bool, Query(description="Delete only the files and keep the record; requests for the files then get 409")
    ] = False,
) -> None:
    """Delete a model; 409 while it is in use.

    It is in use while `serving` or an alias of yours points at it, or while it serves because another version failed
    its test.
    """
    model_id = await run_in_threadpool(_delete_files, service, reference)
    service.cache.drop(model_id)
    if not files_only:
        await run_in_threadpool(_delete_record, service, model_id)
