"""worker.training.failure_codes: what ended a training, in the words of the contract."""

import errno
import sqlite3

import pytest
import torch
from sqlalchemy.exc import OperationalError

from core.errors import DatasetInvalid
from worker.training.failure_codes import classify


def sqlite(message: str) -> OperationalError:
    return OperationalError("INSERT INTO events", {}, sqlite3.OperationalError(message))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
        (sqlite("database or disk is full"), "disk_full"),
        (sqlite("could not extend file: No space left on device"), "disk_full"),  # PostgreSQL's words
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "out_of_memory"),
        (OSError(errno.EACCES, "Permission denied"), "internal"),
        (sqlite("database is locked"), "internal"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "internal"),
        (ValueError("can't allocate memory"), "internal"),
        (KeyError("head"), "internal"),
    ],
)
def test_every_end_has_its_word(error: Exception, code: str) -> None:
    failure = classify(error)
    assert failure.code == code
    assert failure.hint
    assert failure.__cause__ is error
    assert str(getattr(error, "orig", error)) in str(failure)


def test_a_failure_that_knows_its_word_is_left_as_it_is() -> None:
    failure = DatasetInvalid("broken", hint="mend it")
    assert classify(failure) is failure


def test_a_real_allocation_that_is_too_large_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as refusal:
        torch.empty(2**60, dtype=torch.uint8)
    assert classify(refusal.value).code == "out_of_memory"


def test_what_should_not_have_failed_is_named_by_its_kind() -> None:
    assert str(classify(ZeroDivisionError("division by zero"))) == "ZeroDivisionError: division by zero"
