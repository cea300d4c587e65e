"""Parameters that several routes share."""

from typing import Annotated

from fastapi import Depends, Header, Path, Query
from starlette.convertors import StringConvertor, register_url_convertor

from core.errors import Forbidden
from core.ids import is_model_id
from core.model_references import parse
from core.repositories.api_keys import Caller
from service.api.dependencies import Service, State
from service.security.api_keys import Who

REFERENCE = "A model: its id, `pets` (the serving version), `pets/3` (a version) or `pets@best` (an alias)"
TEXT = r"^[^\x00]*$"  # service.security.authentication rejects NUL everywhere

JobId = Annotated[str, Path(description="A job's id, `job_...`, from POST /jobs")]
CheckpointId = Annotated[str, Path(description="A checkpoint's id, `ckpt_...`, from GET /jobs/{job_id}/checkpoints")]
BatchId = Annotated[str, Path(description="A batch's id, `batch_...`, from POST /batches")]
UploadId = Annotated[str, Path(description="An upload's id, the last part of the `Location` from POST /uploads")]


class _ModelInPath(StringConvertor):
    regex = r"[^/]+(?:/[0-9]+)?"


class _DatasetInPath(StringConvertor):
    regex = r"[^/]+(?:/[0-9]+)?"


register_url_convertor("model", _ModelInPath())  # in a path, {reference:model} takes pets/3 too
register_url_convertor("dataset", _DatasetInPath())  # likewise

Name = Annotated[str, Path(description="A name that models were published under")]


def allowed_model(reference: str | None, caller: Caller | None, service: State) -> str | None:
    """Return the reference if the caller's key may use its model.

    Raise Forbidden otherwise, before the body is read.
    """
    if caller is None or caller.models is None:
        return reference
    reference = reference or service.reloader.default or ""  # by name: it may be another one in a moment
    name = reference if is_model_id(reference) else parse(reference).name if reference else "the default name"
    if not caller.may_use(name):
        names = ", ".join(sorted(caller.models))
        raise Forbidden(f"The key {caller.name} is limited to {names}, and {name[:100]} is none of them.")
    return reference


async def _referred_model(caller: Who, service: Service, reference: Annotated[str, Path(description=REFERENCE)]) -> str:
    allowed_model(reference, caller, service)
    return reference


async def _protocol_model(caller: Who, service: Service, name: Annotated[str, Path(description=REFERENCE)]) -> str:
    allowed_model(name, caller, service)
    return name


async def _asked_model(
    caller: Who,
    service: Service,
    model: Annotated[
        str | None, Query(max_length=255, pattern=TEXT, description=f"{REFERENCE}; default: the default name")
    ] = None,
) -> str | None:
    return allowed_model(model, caller, service)


ModelReference = Annotated[str, Depends(_referred_model)]
ProtocolModel = Annotated[str, Depends(_protocol_model)]
AskedModel = Annotated[str | None, Depends(_asked_model)]
TopK = Annotated[int, Query(ge=1, le=100, description="Number of classes per image, most probable first")]
TimeoutMs = Annotated[int | None, Header(ge=1, le=600_000, description="Deadline in milliseconds; 504 when it passes")]

After = Annotated[str | None, Query(max_length=64, pattern=TEXT, description="The previous page's `next`")]
Limit = Annotated[int, Query(ge=1, le=100, description="Maximum entries per page")]

PREPROCESS = """Preprocessing of each image. auto: make it like the training images; a digit is found in uneven light, \
on ruled paper or next to dirt, and converted to MNIST's format. center: convert a digit on clean paper to MNIST's \
format. none: resize only. invert: resize, and exchange light and dark."""
