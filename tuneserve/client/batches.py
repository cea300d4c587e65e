"""Calls for batch predictions: many images, classified by a worker."""

from collections.abc import Iterator
from pathlib import Path

import httpx

from tuneserve.client.connection import Connection
from tuneserve.client.errors import refusal
from tuneserve.types import Batch


class BatchCalls(Connection):
    """Send a batch, follow it and read its results."""

    def send_batch(self, file: Path, top_k: int = 3, model: str | None = None) -> Batch:
        """Start a batch prediction for a zip or a JSON-lines manifest.

        The zip holds images. The file is streamed.
        """
        kind = "application/x-ndjson" if file.suffix in (".ndjson", ".jsonl") else "application/zip"
        with file.open("rb") as content:
            params = {"top_k": top_k} | ({"model": model} if model else {})
            headers = {"Content-Type": kind}
            return self._create(Batch, "/batches", content=content, params=params, headers=headers)

    def follow_batch(self, batch_id: str) -> Iterator[Batch]:
        """Yield the batch repeatedly until it has ended."""
        return self._follow(lambda: self._call(Batch, "GET", f"/batches/{batch_id}"))

    def results(self, batch_id: str) -> Iterator[bytes]:
        """Stream the results so far, as JSON lines."""
        try:
            with self._http.stream("GET", f"/batches/{batch_id}/results") as answer:
                if answer.is_error:
                    answer.read()
                    raise refusal(answer)
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
