"""POST /embed: the features of images, the input of a model's last layer."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from core.errors import TuneserveError
from core.imaging.preparation import Prepared, Preprocess
from core.inference.prediction import BLANK
from core.inference.training_images import directions
from core.scopes import Scope
from service.api.dependencies import Service
from service.api.parameters import PREPROCESS, AskedModel, ModelReference, TimeoutMs
from service.api.request_deadline import request_deadline
from service.api.routes.predict import describe, require_features, times
from service.inference.pipeline import Answered
from service.inference.request_images import BODY, fetch_all, read_images
from service.security.api_keys import RequireScope
from service.web.problems import DESCRIBED, problem, status_of

DIGITS = 6  # of each number behind the point
router = APIRouter(responses=DESCRIBED, tags=["predict"], dependencies=[Depends(RequireScope(Scope.PREDICT))])


@dataclass(frozen=True)
class EmbedOptions:
    """The options of /embed besides the images and the model."""

    preprocess: Annotated[Preprocess, Query(description=PREPROCESS)] = "auto"
    x_timeout_ms: TimeoutMs = None


Options = Annotated[EmbedOptions, Depends()]


class Embedding(BaseModel):
    """The features of an image, or why it has none."""

    features: list[float] | None = Field(
        None, description="As many numbers as `dimension` says, scaled to length 1: a dot product is a cosine."
    )
    reason: str | None = Field(None, description="For a blank image, which the network does not see: why it has none.")
    error: dict[str, Any] | None = Field(None, description="Why this image has no features; the others have theirs.")


class Embeddings(BaseModel):
    model: dict[str, Any] = Field(description="The fields name, version, id and job_id of the model.")
    dimension: int = Field(description="How many numbers the features of an image are; the same for all of a model.")
    embeddings: list[Embedding] = Field(description="One per image, in the order of the images.")
    timing_ms: dict[str, float] = Field(description="Milliseconds: decode, queue, inference and total.")


@router.post("/embed", openapi_extra=BODY, summary="Get the features of images", response_model_exclude_none=True)
async def embed(request: Request, service: Service, model: AskedModel, options: Options) -> Embeddings:
    """Answer the features of each image: what the last layer of the network sees.

    The body is that of `POST /predict`. Features of two models are not comparable, nor are those of two versions.
    """
    started = time.perf_counter()
    async with request_deadline(request, options.x_timeout_ms) as disconnect:
        given = await read_images(request, service.settings)
        disconnect.start()
        predictor = await service.predictor(model)
        require_features(predictor)
        sources = await fetch_all(given, service.outbound, service.settings)
        prepared, answers, decode_ms = await service.pipeline.answer(
            predictor, sources, options.preprocess, with_features=True
        )
        if len(prepared) == 1 and isinstance(prepared[0], TuneserveError):
            raise prepared[0]
    return Embeddings(
        model=describe(predictor),
        dimension=predictor.feature_size,
        embeddings=_in_order(request, prepared, iter(answers)),
        timing_ms=times(answers, decode_ms, started),
    )


@router.post(
    "/embed/{reference:model}",
    openapi_extra=BODY,
    summary="Get the features of images from a model of your choice",
    response_model_exclude_none=True,
)
async def embed_by(request: Request, reference: ModelReference, service: Service, options: Options) -> Embeddings:
    """Answer with the model in the path: `/embed/pets`, `/embed/pets/3` or `/embed/pets@best`."""
    return await embed(request, service, reference, options)


def _in_order(
    request: Request, prepared: Sequence[Prepared | TuneserveError], answers: Iterator[Answered]
) -> list[Embedding]:
    embeddings = []
    for entry in prepared:
        if isinstance(entry, TuneserveError):
            status, code = status_of(entry)
            embeddings.append(Embedding(error=problem(request, status, code, str(entry))))
        elif entry.blank:
            embeddings.append(Embedding(reason=BLANK))
        else:
            features = next(answers).features
            assert features is not None
            embeddings.append(Embedding(features=directions(features[None])[0].round(DIGITS).tolist()))
    return embeddings
