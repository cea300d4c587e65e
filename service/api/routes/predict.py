"""POST /predict: classify images, with an error for each bad one."""

import asyncio
import base64
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from core.errors import Conflict, InvalidInput, TuneserveError
from core.imaging import preparation
from core.imaging.preparation import Prepared, Preprocess
from core.inference.onnx_predictor import Predictor
from core.inference.prediction import Prediction, of_answer, of_blank
from core.inference.training_images import require_training_images
from core.scopes import Scope
from service.api.dependencies import Service, State, state_of
from service.api.parameters import PREPROCESS, AskedModel, ModelReference, TimeoutMs, TopK, allowed_model
from service.api.request_deadline import request_deadline
from service.inference.neighbours import neighbours
from service.inference.pipeline import Answered
from service.inference.request_images import BODY, fetch_all, read_images
from service.security.api_keys import RequireScope, caller_of
from service.web.problems import DESCRIBED, problem, status_of

MAY = RequireScope(Scope.PREDICT)
TIMEOUT = "x-timeout-ms"
MAX_EXPLAINED = 4  # images per request: each runs the network hundreds of times


class PredictRoute(APIRoute):
    """Answer a request that has no parameters without FastAPI's search for them.

    The search takes as long as reading the digit.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        with_parameters = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await (with_parameters if _has_parameters(request) else predict_plainly)(request)

        return handle


@dataclass(frozen=True)
class PredictOptions:
    """The options of /predict besides the images and the model."""

    top_k: TopK = 3
    preprocess: Annotated[Preprocess, Query(description=PREPROCESS)] = "auto"
    explain: Annotated[bool, Query(description="Add a saliency map per image; slow, at most 4 images")] = False
    include_input: Annotated[bool, Query(description="Add the network's input per image, as a PNG")] = False
    neighbours: Annotated[int, Query(ge=0, le=20, description="Number of nearest training images per image")] = 0
    x_timeout_ms: TimeoutMs = None


Options = Annotated[PredictOptions, Depends()]
DEFAULTS = PredictOptions()
router = APIRouter(responses=DESCRIBED, tags=["predict"], dependencies=[Depends(MAY)], route_class=PredictRoute)


class Predictions(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model: dict[str, Any] = Field(description="The fields name, version, id and job_id of the model.")
    predictions: list[Prediction] = Field(description="One prediction per image, in the order of the images.")
    timing_ms: dict[str, float] = Field(description="Milliseconds: decode, queue, inference and total.")
    neighbours_among: dict[str, Any] | None = Field(
        None, description="With `neighbours`: the `dataset`, and how many `images` of its training images are compared."
    )


@router.post("/predict", openapi_extra=BODY, summary="Classify images", response_model_exclude_none=True)
async def predict(
    request: Request,
    service: Service,
    model: AskedModel,
    options: Options = DEFAULTS,
) -> Predictions:
    """Classify images.

    Send a form (`-F file=@seven.png`, repeatable), one image (`--data-binary @seven.png` and its content type) or JSON.
    Without a model, the default name answers: the one that was published to last, unless one is pinned.
    """
    started = time.perf_counter()
    async with request_deadline(request, options.x_timeout_ms) as disconnect:
        given = await read_images(request, service.settings)
        if options.explain and len(given) > MAX_EXPLAINED:
            raise InvalidInput(f"{len(given)} images to explain; at most {MAX_EXPLAINED}.", "query/explain")
        disconnect.start()
        predictor = await service.predictor(model)
        if options.neighbours:
            require_features(predictor)
            require_training_images(predictor.model)
        sources = await fetch_all(given, service.outbound, service.settings)
        prepared, answers, decode_ms = await service.pipeline.answer(
            predictor, sources, options.preprocess, options.explain, bool(options.neighbours)
        )
        if len(prepared) == 1 and isinstance(prepared[0], TuneserveError):
            raise prepared[0]
        predictions = _in_order(request, prepared, iter(answers), predictor.classes, options.top_k)
        if options.neighbours:
            await _add_neighbours(request, service, predictor, predictions, answers, options.neighbours)
        if options.include_input:
            await asyncio.get_running_loop().run_in_executor(
                service.pipeline.decoders, _illustrate, predictions, prepared
            )
    return Predictions(
        model=describe(predictor),
        predictions=predictions,
        timing_ms=times(answers, decode_ms, started),
        neighbours_among=_among(predictor) if options.neighbours else None,
    )


@router.post(
    "/predict/{reference:model}",
    openapi_extra=BODY,
    summary="Classify images with a model of your choice",
    response_model_exclude_none=True,
)
async def predict_by(
    request: Request,
    reference: ModelReference,
    service: Service,
    options: Options = DEFAULTS,
) -> Predictions:
    """Classify images with the model in the path: `/predict/pets`, `/predict/pets/3` or `/predict/pets@best`."""
    return await predict(request, service, reference, options)


async def predict_plainly(request: Request) -> Response:
    """Predict with the default of every parameter."""
    await MAY(request)
    service = await state_of(request)
    model = allowed_model(request.path_params.get("reference"), await caller_of(request), service)
    answered = await predict(request, service, model)
    return Response(answered.model_dump_json(exclude_none=True), media_type="application/json")


def require_features(predictor: Predictor) -> None:
    """Raise Conflict if the model has no features."""
    if not predictor.feature_size:
        model = predictor.model
        raise Conflict(
            f"{model.name}/{model.version} has no features: the last layer of its network, {model.card['network']}, is "
            "not linear. Train another network, resnet18 for example, to have them."
        )


def describe(predictor: Predictor) -> dict[str, Any]:
    """Name the model that answered."""
    model = predictor.model
    return {"name": model.name, "version": model.version, "id": model.id, "job_id": model.job_id}


def times(answers: Sequence[Answered], decode_ms: float, started: float) -> dict[str, float]:
    """Say where the milliseconds of an answer went."""
    return {
        "decode": round(decode_ms, 3),
        "queue": round(max((answer.queued_ms for answer in answers), default=0.0), 3),
        "inference": round(max((answer.batch.inference_ms for answer in answers), default=0.0), 3),
        "total": round((time.perf_counter() - started) * 1000, 3),
    }


def _has_parameters(request: Request) -> bool:
    return bool(request.scope["query_string"]) or TIMEOUT in request.headers


def _in_order(
    request: Request,
    prepared: Sequence[Prepared | TuneserveError],
    answers: Iterator[Answered],
    classes: tuple[str, ...],
    top_k: int,
) -> list[Prediction]:
    predictions = []
    for entry in prepared:
        if isinstance(entry, TuneserveError):
            status, code = status_of(entry)
            predictions.append(Prediction(error=problem(request, status, code, str(entry))))
        elif entry.blank:
            predictions.append(of_blank(entry))
        else:
            one = next(answers)
            prediction = of_answer(one.probabilities, one.ood_score, entry, classes, top_k)
            if one.saliency_map is not None:
                prediction.saliency_map = one.saliency_map
            predictions.append(prediction)
    return predictions


async def _add_neighbours(
    request: Request,
    service: State,
    predictor: Predictor,
    predictions: Sequence[Prediction],
    answers: Sequence[Answered],
    count: int,
) -> None:
    """Add to each prediction its nearest training images.

    Keys that may only predict see neither their numbers nor their thumbnails.
    """
    if not answers:
        return
    caller = await caller_of(request)
    features = np.stack([answer.features for answer in answers if answer.features is not None])
    may_read = caller is None or caller.may(Scope.READ)
    find = partial(neighbours, service.db, service.store, predictor, features, count, may_read)
    found = iter(await asyncio.get_running_loop().run_in_executor(service.pipeline.decoders, find))
    for prediction in predictions:
        if prediction.top_k is not None:  # the network saw it
            prediction.neighbours = next(found)


def _among(predictor: Predictor) -> dict[str, Any]:
    return {"dataset": predictor.model.card["dataset"], **predictor.model.card["neighbours"]}


def _illustrate(predictions: Sequence[Prediction], prepared: Sequence[Prepared | TuneserveError]) -> None:
    """Add to each prediction the image that it is about."""
    for prediction, entry in zip(predictions, prepared, strict=True):
        if isinstance(entry, Prepared):
            prediction.model_input = base64.b64encode(preparation.encode_png(entry.pixels)).decode()
