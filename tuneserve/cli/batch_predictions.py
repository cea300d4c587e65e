"""Batch prediction from the command line.

Upload a file, follow the batch, write its results.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tuneserve.client import Client
from tuneserve.terminal import Console
from tuneserve.types import Batch


def answer_all(client: Client, file: Path, out: Path | None, top_k: int, console: Console, model: str | None) -> int:
    """Run a batch prediction and write its results.

    They go to ``out``, else to the standard output. Returns the exit code: 0 if every image has a prediction.
    """
    batch = client.send_batch(file, top_k, model)
    batch_id = batch["id"]
    with console.status(batch_id) as status:
        for batch in client.follow_batch(batch_id):
            status.update(f"{batch_id} {batch['status']}: {batch['done']} of {batch['total']} images")
    with _writing(out) as target:
        for piece in client.results(batch_id):
            target.write(piece)
    console.print(_summary(batch), soft_wrap=True, highlight=False, markup=False)
    return 0 if batch["status"] == "succeeded" and not batch["errors"] else 1


@contextmanager
def _writing(out: Path | None) -> Iterator[IO[bytes]]:
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with out.open("wb") as file:
            yield file


def _summary(batch: Batch) -> str:
    counts = f"{batch['done']} of {batch['total']} images, {batch['errors']} of them could not be read"
    reason = f": {batch['error']['message']}" if batch["error"] else ""
    return f"{batch['id']} {batch['status']}, {counts}{reason}"
