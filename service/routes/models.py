"""Models: what training made."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from core import models
from core.errors import NotFound
from service.state import Service
from service.views import ModelPage, ModelView, model_view

router = APIRouter(prefix="/models", tags=["models"])
FORMATS = {"safetensors": "weights.safetensors", "onnx": "model.onnx"}
REPORT = "report.json"


@router.get("", summary="List models, newest first")
def list_models(
    service: Service,
    after: Annotated[int | None, Query(ge=1, lt=2**31, description="`next` of the page before: a version")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ModelPage:
    with service.db.read() as session:
        found, more = models.page(session, after, limit)
        named = models.aliases(session)
    return ModelPage(
        data=[model_view(model, named) for model in found], has_more=more, next=found[-1].version if more else None
    )


@router.get("/{name}", summary="One model, by id or alias")
def get_model(name: str, service: Service) -> ModelView:
    """`latest` is the newest, `best` the most accurate one on its data set, `serving` what `/predict` answers with."""
    with service.db.read() as session:
        return model_view(models.find(session, name), models.aliases(session))


@router.get("/{name}/content", summary="A model's file")
def get_content(
    name: str,
    service: Service,
    format: Annotated[str, Query(pattern="^(safetensors|onnx)$", description="safetensors or onnx")] = "safetensors",
) -> FileResponse:
    with service.db.read() as session:
        model = models.find(session, name)
    if FORMATS[format] not in model.card["files"]:
        raise NotFound(f"{model.id} has no file in the format {format}.")
    path = service.store.fetch(f"{model.key}/{FORMATS[format]}")
    return FileResponse(path, media_type="application/octet-stream", filename=f"{model.id}{path.suffix}")


@router.get("/{name}/report", summary="A model's evaluation report")
@router.get("/{name}/report.json", include_in_schema=False)
def get_report(name: str, service: Service) -> FileResponse:
    """The model and how it came to be, with calibration curve, worst mistakes and their images (PNG in base64)."""
    with service.db.read() as session:
        model = models.find(session, name)
    if REPORT not in model.card["files"]:
        raise NotFound(f"{model.id} has no report.")
    return FileResponse(service.store.fetch(f"{model.key}/{REPORT}"), media_type="application/json")
