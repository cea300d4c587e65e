"""Classify what ended a training into the API's failure codes."""

import torch

from core.errors import DiskFull, InternalFailure, JobFailure, OutOfMemory, is_disk_full

ALLOCATOR_MESSAGES = ("can't allocate memory", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def classify(error: BaseException) -> JobFailure:
    """Convert an exception to the failure it stands for, with its cause."""
    if isinstance(error, JobFailure):
        return error
    failure: JobFailure
    if is_out_of_memory(error):
        failure = OutOfMemory(f"Out of memory: {error}")
    elif is_disk_full(error):
        failure = DiskFull(f"No space is left: {getattr(error, 'orig', error)}")
    else:
        failure = InternalFailure(f"{type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


def is_out_of_memory(error: BaseException) -> bool:
    """Check whether the host or a device ran out of memory."""
    named = isinstance(error, RuntimeError) and any(text in str(error) for text in ALLOCATOR_MESSAGES)
    return named or isinstance(error, (MemoryError, torch.OutOfMemoryError))
