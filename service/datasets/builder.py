"""Build data sets in child processes, each with a deadline.

A few are built at a time.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from core.errors import NotReady, TooLarge, UnusableDataset
from core.settings import Settings
from service.datasets.build_process import OUTCOME, REQUEST, BuildRequest, Refusal
from service.datasets.extraction import Sent
from service.datasets.importer import Addition, Built

MODULE = "service.datasets.build_process"
BASE_CPU_S = 60  # for any body, and a second more for each BYTES_PER_CPU_S: photos take a tenth of it
BYTES_PER_CPU_S = 100 * 1024
FRUGAL = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # the address space is limited


class Builder:
    def __init__(self, settings: Settings, stopping: asyncio.Event) -> None:
        self._settings = settings
        self._stopping = stopping
        self._free = asyncio.Semaphore(settings.max_dataset_builds)

    async def build(
        self, sent: Sequence[Sent], folder: Path, addition: Addition | None = None, group_pattern: str = ""
    ) -> Built:
        """Fill the folder in a child process; cancelling this call ends it.

        What is built is a data set, with groups by its file names if there is a pattern, or an addition to one. Raise
        what ``importer.build`` raises, TooLarge if it takes more time or memory than allowed, NotReady if the server
        stops.
        """
        request = self._request(sent, folder, addition, group_pattern)
        building = asyncio.ensure_future(self._build_in_turn(request))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((building, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not building.done():
                raise NotReady("The service is stopping: send this again in a moment.")
            return building.result()
        finally:
            stopping.cancel()
            building.cancel()
            await asyncio.wait((building,))

    async def _build_in_turn(self, request: BuildRequest) -> Built:
        async with self._free:
            code, output = await self._run(request)
        if code:
            raise _ended_by(code)
        outcome = OUTCOME.validate_json(output)
        if isinstance(outcome, Refusal):
            raise outcome.to_exception()
        return outcome

    def _request(
        self, sent: Sequence[Sent], folder: Path, addition: Addition | None, group_pattern: str
    ) -> BuildRequest:
        allowed = BASE_CPU_S + sum(one.file.stat().st_size for one in sent) // BYTES_PER_CPU_S
        memory = self._settings.dataset_build_bytes
        return BuildRequest(list(sent), folder, memory, allowed, os.getpid(), addition, group_pattern)

    async def _run(self, request: BuildRequest) -> tuple[int, bytes]:
        """Run a build process; return its exit code and its output.

        An exit code below 0 is minus the signal. The process is dead when this returns, raises or is cancelled.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE),
            env=os.environ | self._settings.environment() | FRUGAL,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._settings.dataset_build_s):
                output, _ = await process.communicate(REQUEST.dump_json(request))
        except TimeoutError as error:
            raise _too_slow() from error
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        assert process.returncode is not None
        return process.returncode, output


def _ended_by(code: int) -> Exception:
    """Explain a build process that ended without an outcome."""
    if code == -signal.SIGXCPU:
        return _too_slow()
    if code == -signal.SIGKILL:
        return TooLarge("The process that reads this was killed: the machine may have too little memory for it.")
    if code < 0:
        return UnusableDataset(f"One of the files ends the process that reads it ({signal.Signals(-code).name}).")
    return RuntimeError(f"the process that builds a data set ended with exit code {code}; its traceback is above")


def _too_slow() -> TooLarge:
    return TooLarge(
        "To read this takes more time than its size and TUNESERVE_DATASET_BUILD_S allow: send less at a time."
    )
