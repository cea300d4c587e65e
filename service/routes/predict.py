"""POST /predict: images in, labels out. Each image stands for itself; one bad among many gets its own error."""

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from core import images
from core.errors import InvalidInput, TuneserveError, UnsupportedType
from core.images import Prepared
from service.batcher import Answer
from service.predictor import Predictor
from service.problems import problem, status_of
from service.state import Service, State

router = APIRouter(tags=["predict"])
Normalize = Literal["auto", "none"]
Source = Callable[[], Image.Image]  # decodes when called, in a decoder's thread
NO_DIGIT = "no_digit"


class ImageInput(BaseModel):
    """One image: the bytes of a file in base64, or its pixels as nested lists."""

    model_config = ConfigDict(extra="forbid")

    b64: str | None = None
    array: list[Any] | None = Field(None, description="[h][w] or [h][w][3], 0..255 or fractions 0..1")

    @model_validator(mode="after")
    def _exactly_one(self) -> "ImageInput":
        if (self.b64 is None) == (self.array is None):
            raise ValueError('give exactly one of "b64" and "array"')
        return self


class PredictBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    images: list[ImageInput] = Field(min_length=1)


class Candidate(BaseModel):
    label: str
    probability: float


class Prediction(BaseModel):
    """An answer, or the error of this image alone."""

    label: str | None = None
    class_index: int | None = None
    probability: float | None = None
    top_k: list[Candidate] | None = None
    abstained: bool = Field(False, description="There is nothing on the image to read; the label is `no_digit`.")
    normalized: dict[str, Any] | None = Field(None, description="What was done to the image first.")
    error: dict[str, Any] | None = Field(None, description="A problem; then all else is empty.")


class Predictions(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model: dict[str, Any] = Field(description="id, version and job_id of the model that answered")
    predictions: list[Prediction]
    timing_ms: dict[str, float] = Field(description="decode, queue, inference, total")


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {"images": {"type": "array", "minItems": 1, "items": {"type": "object"}}},
                },
                "example": {"images": [{"array": [[0, 0, 0, 0], [0, 255, 255, 0], [0, 0, 255, 0], [0, 0, 255, 0]]}]},
            },
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post("/predict", openapi_extra=BODY, summary="Which class is on this image?", response_model_exclude_none=True)
async def predict(
    request: Request,
    service: Service,
    top_k: Annotated[int, Query(ge=1, le=100, description="How many classes to name, likeliest first")] = 3,
    normalize: Annotated[Normalize, Query(description="none: only bring the image to size")] = "auto",
) -> Predictions:
    """`-F file=@seven.png`, once or often; or `--data-binary @seven.png` with an image's content type; or JSON."""
    started = time.perf_counter()
    predictor = service.reloader.current
    sources = await _sources(request, service)
    if len(sources) > service.settings.max_images_per_request:
        raise InvalidInput(f"{len(sources)} images in one request; at most {service.settings.max_images_per_request}.")
    prepared = await _prepare_all(service, predictor, sources, normalize)
    decoded = time.perf_counter()
    if len(prepared) == 1 and isinstance(prepared[0], TuneserveError):
        raise prepared[0]
    readable = [entry.pixels for entry in prepared if isinstance(entry, Prepared) and not entry.blank]
    answers = await service.batcher.submit(predictor, readable) if readable else []
    return Predictions(
        model={"id": predictor.model.id, "version": predictor.model.version, "job_id": predictor.model.job_id},
        predictions=_in_order(request, prepared, iter(answers), predictor.classes, top_k),
        timing_ms={
            "decode": round((decoded - started) * 1000, 3),
            "queue": round(max((answer.queued_ms for answer in answers), default=0.0), 3),
            "inference": round(max((answer.inference_ms for answer in answers), default=0.0), 3),
            "total": round((time.perf_counter() - started) * 1000, 3),
        },
    )


# -- bodies


async def _sources(request: Request, service: State) -> list[Source]:
    """The images of the body, whatever its form, not yet decoded."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    limit = service.settings.max_image_pixels
    if content_type == "multipart/form-data":
        try:
            async with request.form(max_files=service.settings.max_images_per_request) as form:
                files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
                if not files:
                    raise InvalidInput("No file was sent: use -F file=@seven.png.", "/file")
                return [_from_bytes(await file.read(), limit) for file in files]
        except HTTPException as error:  # the parser's own: too many files, or no form at all
            raise InvalidInput(error.detail) from error
    if content_type == "application/json":
        body = _parse(await request.body())
        return [_from_input(entry, limit) for entry in body.images]
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
    return lambda: images.decode(data, max_pixels)


def _from_input(entry: ImageInput, max_pixels: int) -> Source:
    if entry.array is not None:
        return lambda: images.from_array(entry.array)

    def decode() -> Image.Image:
        try:
            data = base64.b64decode(entry.b64 or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput("b64 is not base64.") from error
        return images.decode(data, max_pixels)

    return decode


# -- from pixels to answers


async def _prepare_all(
    service: State, predictor: Predictor, sources: Sequence[Source], normalize: Normalize
) -> list[Prepared | TuneserveError]:
    """Each image prepared, or the error that stands in its place."""

    def prepare(source: Source) -> Prepared | TuneserveError:
        try:
            return images.prepare(source(), predictor.preparation, normalize)
        except TuneserveError as error:
            return error

    loop = asyncio.get_running_loop()
    return list(await asyncio.gather(*(loop.run_in_executor(service.decoders, prepare, source) for source in sources)))


def _in_order(
    request: Request,
    prepared: Sequence[Prepared | TuneserveError],
    answers: Iterator[Answer],
    classes: tuple[str, ...],
    top_k: int,
) -> list[Prediction]:
    predictions = []
    for entry in prepared:
        if isinstance(entry, TuneserveError):
            status, code = status_of(entry)
            predictions.append(Prediction(error=problem(request, status, code, str(entry))))
        elif entry.blank:
            predictions.append(Prediction(label=NO_DIGIT, abstained=True, normalized=entry.normalized))
        else:
            predictions.append(_prediction(next(answers), entry, classes, top_k))
    return predictions


def _prediction(answer: Answer, prepared: Prepared, classes: tuple[str, ...], top_k: int) -> Prediction:
    likeliest = answer.probabilities.argsort()[::-1][:top_k]
    candidates = [
        Candidate(label=classes[index], probability=round(float(answer.probabilities[index]), 6)) for index in likeliest
    ]
    return Prediction(
        label=candidates[0].label,
        class_index=int(likeliest[0]),
        probability=candidates[0].probability,
        top_k=candidates,
        normalized=prepared.normalized,
    )
