"""Routes of the Open Inference Protocol, version 2.

A model is called by its name, its id or `pets@best`.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.concurrency import run_in_threadpool

from core.errors import InvalidInput, NotFound, TuneserveError
from core.ids import is_model_id
from core.imaging.preparation import Prepared
from core.inference.onnx_predictor import Predictor
from core.inference.prediction import NO_DIGIT
from core.model_references import NAME
from core.repositories import models
from core.scopes import Scope
from core.settings import Settings
from service.api.dependencies import Service, State
from service.api.open_inference import messages
from service.api.open_inference.messages import HEADER_LENGTH, InferRequest, RequestedOutput
from service.api.open_inference.tensors import LABELS, OOD_SCORE, describe, outputs_of, sources_of
from service.api.parameters import ProtocolModel, TimeoutMs
from service.api.request_deadline import request_deadline
from service.inference.pipeline import Answered
from service.inference.request_images import EncodedImage
from service.security.api_keys import RequireScope, Who
from service.web import problems

probes = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], responses=problems.DESCRIBED_OIP)  # need no key
router = APIRouter(
    prefix="/v2",
    tags=["Open Inference Protocol"],
    dependencies=[Depends(RequireScope(Scope.PREDICT, to_read=Scope.PREDICT))],
    responses=problems.DESCRIBED_OIP,
)
MAX_OOD_SCORE = float(np.finfo(np.float32).max)  # JSON has no infinity
EXTENSIONS = ["binary_tensor_data", "classification", "statistics"]
JSON_LENGTH = "Bytes of JSON before the binary tensors; default: the whole body is JSON"


def _number(request: Request) -> str | None:
    number: str | None = request.path_params.get("number")
    return number


Number = Annotated[str | None, Depends(_number)]  # of a version; None in the routes whose path has none


@router.get("", summary="Get the server's name, version and extensions")
def server() -> dict[str, Any]:
    return {"name": "tuneserve", "version": version("tuneserve"), "extensions": EXTENSIONS}


@probes.get("/health/live", summary="Check that the server runs")
def live() -> dict[str, bool]:
    return {"live": True}


@probes.get("/health/ready", summary="Check that a model can serve")
def ready(service: Service) -> dict[str, bool]:
    _ = service.reloader.current  # NotReady
    return {"ready": True}


@router.get("/models/stats", summary="Get request counts and times of all models")
def statistics(service: Service, caller: Who) -> dict[str, Any]:
    """Return the statistics of all models in this process that the API key may use."""
    every = service.statistics.report()["model_stats"]
    return {"model_stats": [one for one in every if caller is None or caller.may_use(re.split("[/@]", one["name"])[0])]}


@router.get("/models/{name}", summary="Get a model's inputs and outputs")
@router.get("/models/{name}/versions/{number}", include_in_schema=False)
async def metadata(name: ProtocolModel, service: Service, number: Number) -> dict[str, Any]:
    predictor = await _predictor(service, name, number)
    return {
        "name": name,
        "versions": await run_in_threadpool(_versions, service, predictor.model.name),
        "platform": predictor.engine,
        **describe(predictor),
    }


@router.get("/models/{name}/ready", summary="Check that a model is ready")
@router.get("/models/{name}/versions/{number}/ready", include_in_schema=False)
async def model_ready(name: ProtocolModel, service: Service, number: Number) -> dict[str, Any]:
    await _predictor(service, name, number)
    return {"name": name, "ready": True}


@router.get("/models/{name}/stats", summary="Get request counts and times of a model")
@router.get("/models/{name}/versions/{number}/stats", include_in_schema=False)
async def model_statistics(name: ProtocolModel, service: Service, number: Number) -> dict[str, Any]:
    """Return one model's statistics in this process, under the requested name."""
    await _predictor(service, name, number)
    return service.statistics.report(name)


@router.post("/models/{name}/infer", summary="Classify images")
@router.post("/models/{name}/versions/{number}/infer", include_in_schema=False)
async def infer(
    request: Request,
    name: ProtocolModel,
    service: Service,
    number: Number,
    header_length: Annotated[int | None, Header(alias=HEADER_LENGTH, ge=0, description=JSON_LENGTH)] = None,
    x_timeout_ms: TimeoutMs = None,
) -> Response:
    """Classify the images of the input `images`.

    Its type is UINT8 or FP32 with the shape [n, h, w], [n, h, w, c] or [n, c, h, w], or BYTES with the shape [n]: image
    files, in base64 if they are in JSON. Outputs are `probabilities` (with the parameter `classification`, the most
    probable classes), `labels` and, if the model has it, `ood_score`; above 1 the prediction is unreliable.
    """
    started = time.perf_counter()
    predictor: Predictor | None = None
    # JSON of numbers takes long to read and to write
    run = partial(asyncio.get_running_loop().run_in_executor, service.pipeline.decoders)
    try:
        async with request_deadline(request, x_timeout_ms) as disconnect:
            given = await request.body()
            disconnect.start()
            predictor = await _predictor(service, name, number)
            infer_request, sources = await run(_read, given, header_length, service.settings)
            prepared, answers, decode_ms = await service.pipeline.answer(
                predictor, sources, infer_request.parameters.preprocess
            )
            body, length = await run(_response, name, predictor, infer_request, prepared, answers)
    except TuneserveError:
        if predictor is not None:
            service.statistics.failed(name, str(predictor.model.version), _ms_since(started))
        raise
    version = str(predictor.model.version)
    _count(service, name, version, answers, decode_ms, len(sources), _ms_since(started))
    headers = {} if length is None else {HEADER_LENGTH: str(length)}
    return Response(body, media_type="application/octet-stream" if length else "application/json", headers=headers)


async def _predictor(service: State, name: str, number: str | None) -> Predictor:
    if number is not None and re.fullmatch(NAME, name) and not is_model_id(name):
        return await service.predictor(f"{name}/{number}")
    predictor = await service.predictor(name)
    if number is not None and number != str(predictor.model.version):
        raise NotFound(f"{name} is version {predictor.model.version}; there is no version {number} of it.")
    return predictor


def _versions(service: State, name: str) -> list[str]:
    with service.db.read() as session:
        return [str(version) for version in models.versions(session, name)]


def _read(body: bytes, header_length: int | None, settings: Settings) -> tuple[InferRequest, list[EncodedImage]]:
    infer_request, tensors = messages.read_request(body, header_length, settings.max_json_bytes)
    sources = sources_of(infer_request, tensors)
    if len(sources) > settings.max_images_per_request:
        raise InvalidInput(f"{len(sources)} images in one request; at most {settings.max_images_per_request}.")
    return infer_request, sources


def _response(
    name: str,
    predictor: Predictor,
    infer_request: InferRequest,
    prepared: Sequence[Prepared | TuneserveError],
    answers: Sequence[Answered],
) -> tuple[bytes, int | None]:
    """Build the response to an inference request.

    Blank images have no probabilities, the label ``no_digit`` and the highest OOD score.
    """
    found = []
    rows = iter(answers)
    for entry in prepared:
        if isinstance(entry, TuneserveError):
            raise entry  # the protocol has no errors of single images
        found.append(None if entry.blank else next(rows))
    classes = predictor.classes
    probabilities = np.zeros((len(found), len(classes)), np.float32)
    for row, one in zip(probabilities, found, strict=True):
        row[:] = 0 if one is None else one.probabilities
    labels = [NO_DIGIT if one is None else classes[one.probabilities.argmax()] for one in found]
    response = messages.Response(name, str(predictor.model.version), infer_request)
    there = outputs_of(predictor)
    for wanted in infer_request.outputs or [RequestedOutput(name=output) for output in there]:
        if wanted.name not in there:
            raise InvalidInput(f"There is no output {wanted.name}; there are {', '.join(there)}.")
        if wanted.name == LABELS:
            response.add(wanted, np.array(labels, np.str_))
        elif wanted.name == OOD_SCORE:
            response.add(
                wanted, np.array([MAX_OOD_SCORE if one is None else one.ood_score for one in found], np.float32)
            )
        elif count := wanted.parameters.classification:
            texts = np.array([_classified(row, count, classes) for row in probabilities], np.str_)
            response.add(wanted, texts.reshape(len(found), min(count, len(classes))))
        else:
            response.add(wanted, probabilities)
    return response.body()


def _classified(row: Any, count: int, classes: tuple[str, ...]) -> list[str]:
    """Format the most probable classes as the extension requires: probability, index, label."""
    likeliest = row.argsort()[::-1][:count]
    return [f"{row[index]:f}:{index}:{classes[index]}" for index in likeliest]


def _count(
    service: State, name: str, version: str, answers: Sequence[Answered], decode_ms: float, images: int, total_ms: float
) -> None:
    queue = max((one.queued_ms for one in answers), default=0.0)
    batches = {one.batch for one in answers}
    infer_ms = max((batch.inference_ms for batch in batches), default=0.0)
    rest = max(total_ms - decode_ms - queue - infer_ms, 0.0)
    service.statistics.succeeded(
        name, version, images, batches, success=total_ms, queue=queue, compute_input=decode_ms, compute_infer=infer_ms,
        compute_output=rest,
    )  # fmt: skip


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
