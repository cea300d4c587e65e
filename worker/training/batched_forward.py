"""One look at every image of a part: as many at a time as fit the memory."""

from collections.abc import Callable, Iterator

from torch import Tensor

from worker.data.splits import Split, in_order
from worker.training.conv_matmul import conv_as_matmul
from worker.training.failure_codes import is_out_of_memory

MAX_BATCH_SIZE = 128  # images at a time; with 256 of 32 px a CPU takes a sixth longer


def look(part: Split, seen_by: Callable[[Tensor], Tensor]) -> Iterator[tuple[int, Tensor]]:
    """``seen_by`` of the part's images, uint8, in their order, each time with the place of the first of them.

    Half as many at a time from where on memory does not suffice; the error when it does not suffice for one.
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
    """None where the memory does not suffice. The failed look's frames, and what they hold, are gone then."""
    try:
        with conv_as_matmul(images.device):
            return seen_by(images)
    except (MemoryError, RuntimeError) as error:
        if len(images) == 1 or not is_out_of_memory(error):
            raise
    return None
