"""Parameters that several routes take, each in the same words wherever it stands."""

from typing import Annotated

from fastapi import Header, Path, Query

TEXT = r"^[^\x00]*$"  # service.security.authentication refuses NUL, wherever it stands

JobId = Annotated[str, Path(description="As POST /jobs answered: `job_...`")]
CheckpointId = Annotated[str, Path(description="As the job's checkpoints are listed: `ckpt_...`")]
BatchId = Annotated[str, Path(description="As POST /batches answered: `batch_...`")]
UploadId = Annotated[str, Path(description="The end of the `Location` that POST /uploads answered")]
ModelName = Annotated[str, Path(description="A model's id, `model_...`, or an alias of it, like `latest`")]

AskedModel = Annotated[
    str | None, Query(pattern=TEXT, description="A model's id or alias; default: the one that serves")
]
TopK = Annotated[int, Query(ge=1, le=100, description="How many classes to name, likeliest first")]
TimeoutMs = Annotated[int | None, Header(ge=1, le=600_000, description="Give up after so long, with 504")]

After = Annotated[str | None, Query(max_length=64, pattern=TEXT, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=100, description="Most entries of a page")]

PREPROCESS = """What is done to an image first. auto: whatever makes it like those that the model was trained on; a \
digit is found in uneven light, on ruled paper and beside dirt, and brought to MNIST's form. center: no more than that \
form, for a digit on clean paper. none: only resized. invert: resized, with light and dark exchanged."""
