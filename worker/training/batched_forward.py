"""Run a function over a split in batches that fit the memory."""

from collections.abc import Callable, Iterator

from torch import Tensor

from worker.data.splits import Split, in_order
from worker.training.conv_matmul import conv_as_matmul
from worker.training.failure_codes import is_out_of_memory

MAX_BATCH_SIZE = 128  # images at a time; with 256 of 32 px a CPU takes a sixth longer


def look(part: Split, seen_by: Callable[[Tensor], Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Yield ``seen_by`` of a split's images, batch by batch.

    Each result comes with the index of its first image; images are uint8, in the split's order. The batch is halved
    whenever it does not fit the memory; if a single image does not, the error is raised.
    """
    start, size = 0, MAX_BATCH_SIZE
    for images, _ in in_order(part, MAX_BATCH_SIZE):
        rest = images
        while len(rest):
            seen = _try(seen_by, rest[:size])
            if seen is None:
                size = min(size, len(rest)) // 2
                continue
            yield start, seen
            start, rest = start + len(seen), rest[len(seen) :]


def _try(seen_by: Callable[[Tensor], Tensor], images: Tensor) -> Tensor | None:
    """Run the batch; None if it does not fit the memory.

    By the time it returns, the failed call's frames, and the memory that they hold, are gone.
    """
    try:
        with conv_as_matmul(images.device):
            return seen_by(images)
    except (MemoryError, RuntimeError) as error:
        if len(images) == 1 or not is_out_of_memory(error):
            raise
    return None
