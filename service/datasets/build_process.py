"""Build a data set in a bounded child process: ``python -m service.datasets.build_process``.

The request comes as JSON on the standard input, the outcome goes as JSON to the standard output. Parsers of what a
stranger sent run here: memory and processor time are limited by the kernel, and the service goes on beside them.
"""

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from core import errors
from core.errors import InvalidInput, TooLarge, TuneserveError, UnusableDataset
from core.parent_death import die_with
from core.settings import Settings
from service.datasets.extraction import Sent
from service.datasets.importer import Addition, Built, build, build_addition

HARD_LIMIT_S = 5  # after the limit of processor time, which ends the process with SIGXCPU, comes SIGKILL


@dataclass(frozen=True)
class BuildRequest:
    sent: list[Sent]
    folder: Path  # to be made and filled
    memory_bytes: int  # of address space
    cpu_s: int
    parent: int  # process id
    addition: Addition | None = None  # to a data set that is there; None: a whole one
    group_pattern: str = ""  # of a whole one


@dataclass(frozen=True)
class Refusal:
    """An exception as it travels between processes."""

    kind: str  # a class of core.errors, or "" for an OSError
    message: str
    pointer: str = ""
    problems: tuple[dict[str, str], ...] = ()
    number: int | None = None  # of the OSError

    @classmethod
    def of(cls, error: TuneserveError | OSError) -> "Refusal":
        if isinstance(error, OSError):
            return cls("", error.strerror or str(error), number=error.errno)
        problems = tuple(map(dict, error.problems)) if isinstance(error, UnusableDataset) else ()
        return cls(type(error).__name__, str(error), getattr(error, "pointer", ""), problems)

    def to_exception(self) -> Exception:
        if not self.kind:
            return OSError(self.number, self.message)
        found: type[Any] = getattr(errors, self.kind)
        if issubclass(found, UnusableDataset):
            return found(self.message, self.problems)
        return found(self.message, self.pointer) if issubclass(found, InvalidInput) else found(self.message)


REQUEST: TypeAdapter[BuildRequest] = TypeAdapter(BuildRequest)
OUTCOME: TypeAdapter[Built | Refusal] = TypeAdapter(Built | Refusal)


def main() -> None:
    """Build the requested data set, within its limits."""
    request = REQUEST.validate_json(sys.stdin.buffer.read())
    die_with(request.parent)
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is none of the outcome
    _limit(resource.RLIMIT_CPU, request.cpu_s, HARD_LIMIT_S)
    _limit(resource.RLIMIT_AS, request.memory_bytes)
    with answer:
        answer.write(OUTCOME.dump_json(_outcome(request)))


def _limit(which: int, bound: int, more: int = 0) -> None:
    """Lower a limit, never above what the system set."""
    _, hardest = resource.getrlimit(which)
    hard = bound + more if hardest == resource.RLIM_INFINITY else min(bound + more, hardest)
    resource.setrlimit(which, (min(bound, hard), hard))


def _outcome(request: BuildRequest) -> Built | Refusal:
    try:
        if request.addition is not None:
            return build_addition(request.sent, request.folder, Settings(), request.addition)
        return build(request.sent, request.folder, Settings(), request.group_pattern)
    except (TuneserveError, OSError) as error:
        return Refusal.of(error)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "start new thread" not in str(error):
            raise
        return Refusal.of(
            TooLarge("To read this takes more memory than TUNESERVE_DATASET_BUILD_BYTES allows: send less at a time.")
        )


if __name__ == "__main__":
    main()
