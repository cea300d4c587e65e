"""Parameters that several routes share."""

from typing import Annotated

from fastapi import Header, Path, Query
from starlette.convertors import StringConvertor, register_url_convertor

REFERENCE = "A model: its id, `pets` (the serving version), `pets/3` (a version) or `pets@best` (an alias)"
TEXT = r"^[^\x00]*$"  # service.security.authentication rejects NUL everywhere

JobId = Annotated[str, Path(description="A job's id, `job_...`, from POST /jobs")]
CheckpointId = Annotated[str, Path(description="A checkpoint's id, `ckpt_...`, from GET /jobs/{job_id}/checkpoints")]
BatchId = Annotated[str, Path(description="A batch's id, `batch_...`, from POST /batches")]
UploadId = Annotated[str, Path(description="An upload's id, the last part of the `Location` from POST /uploads")]


class _ModelInPath(StringConvertor):
    regex = r"[^/]+(?:/[0-9]+)?"


register_url_convertor("model", _ModelInPath())  # in a path, {reference:model} takes pets/3 too

ModelReference = Annotated[str, Path(description=REFERENCE)]
Name = Annotated[str, Path(description="A name that models were published under")]

AskedModel = Annotated[
    str | None, Query(max_length=255, pattern=TEXT, description=f"{REFERENCE}; default: the default name")
]
TopK = Annotated[int, Query(ge=1, le=100, description="Number of classes per image, most probable first")]
TimeoutMs = Annotated[int | None, Header(ge=1, le=600_000, description="Deadline in milliseconds; 504 when it passes")]

After = Annotated[str | None, Query(max_length=64, pattern=TEXT, description="The previous page's `next`")]
Limit = Annotated[int, Query(ge=1, le=100, description="Maximum entries per page")]

PREPROCESS = """Preprocessing of each image. auto: make it like the training images; a digit is found in uneven light, \
on ruled paper or next to dirt, and converted to MNIST's format. center: convert a digit on clean paper to MNIST's \
format. none: resize only. invert: resize, and exchange light and dark."""
