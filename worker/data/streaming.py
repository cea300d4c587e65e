"""Images off the device, copied there a batch at a time.

They come in the order in which they are requested.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from core.errors import DatasetInvalid
from worker.data.decode_workers import Decoders
from worker.data.photo_files import Photos, read

PIECE = 8  # photos that a process decodes at a time
PIECES_AHEAD = 2  # for each process, besides the batch that is due


@dataclass(frozen=True)
class OnHost:
    """Images or activations in the host's memory.

    They may lie in a file that is mapped into it.
    """

    values: Tensor  # n x ..., on the CPU
    device: torch.device

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def to(self, device: torch.device) -> "OnHost":
        return replace(self, device=device)

    def some(self, rows: Tensor) -> Tensor:
        out = _buffer((len(rows), *self.values.shape[1:]), self.values.dtype, self.device)
        torch.index_select(self.values, 0, rows, out=out)
        return out.to(self.device, non_blocking=True)

    def take(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        return map(self.some, batches)


@dataclass(frozen=True)
class Streamed:
    """Photos that processes decode anew for every epoch.

    A bounded number of them is decoded ahead.
    """

    photos: Photos
    device: torch.device

    @property
    def shape(self) -> tuple[int, ...]:
        return self.photos.shape

    @property
    def nbytes(self) -> int:
        """The bytes that all photos would take in memory."""
        return self.photos.nbytes

    def to(self, device: torch.device) -> "Streamed":
        return replace(self, device=device)

    def some(self, rows: Tensor) -> Tensor:
        """Return a few photos, decoded in this process.

        So few are not worth another process.
        """
        form, max_pixels = self.photos.form, self.photos.max_pixels
        images = [read(path, form, max_pixels) for path in self.photos.paths[rows.numpy()]]
        problems = [entry for entry in images if isinstance(entry, str)]
        if problems:
            raise DatasetInvalid("; ".join(problems))
        pixels = np.stack([entry.pixels for entry in images if not isinstance(entry, str)])
        return torch.from_numpy(pixels).to(self.device)

    def take(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each batch of indices.

        Raises DatasetInvalid for a file that is no longer what it was.
        """
        processes = min(self.photos.processes, math.ceil(sum(map(len, batches)) / PIECE))
        ahead = processes * PIECES_AHEAD * PIECE
        coming: deque[_Coming] = deque()
        with Decoders(processes, self.photos.form, self.photos.max_pixels) as decoders:
            for rows in batches:
                coming.append(self._order(rows, decoders))
                if sum(len(batch.images) for batch in coming) - len(coming[0].images) >= ahead:
                    yield coming.popleft().arrived(self.device)
            while coming:
                yield coming.popleft().arrived(self.device)

    def _order(self, rows: Tensor, decoders: Decoders) -> "_Coming":
        images = _buffer((len(rows), *self.photos.form.shape), torch.uint8, self.device)
        paths, pixels = self.photos.paths[rows.numpy()], images.numpy()
        pieces = [slice(start, start + PIECE) for start in range(0, len(rows), PIECE)]
        return _Coming(images, [decoders.submit(paths[piece], pixels[piece]) for piece in pieces])


@dataclass(frozen=True)
class _Coming:
    """A batch that is being decoded into its place."""

    images: Tensor
    pieces: list[Future[None]]

    def arrived(self, device: torch.device) -> Tensor:
        for piece in self.pieces:
            piece.result()
        return self.images.to(device, non_blocking=True)


def _buffer(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Allocate memory from which a GPU copies by itself.

    torch reuses it only when the copy is done.
    """
    return torch.empty(shape, dtype=dtype, pin_memory=device.type == "cuda")
