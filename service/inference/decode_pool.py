"""Decode large or slow images in a few killable processes.

They would take longer, or more memory, than a thread may be lent for. A process starts when it is first needed, and
answers one image at a time. It is killed when its image takes too long or the request is given up, and another takes
its place.
"""

import asyncio
import json
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidInput, NotAnImage, Overloaded, TooLarge
from core.imaging.preparation import Preparation, Prepared, Preprocess
from core.settings import Settings
from service.inference.decode_process import GO, LENGTHS, STOP, frame, unpacked

log = logging.getLogger(__name__)
MODULE = "service.inference.decode_process"
MAX_START_S = 60.0  # until a process has imported what it needs
MAX_WAIT_S = 60.0  # for a free process
PIECE = 2**18  # bytes written at a time
PASSED_ON = ("PATH", "PYTHON", "LD_", "LANG", "LC_", "COVERAGE")  # of the environment: no keys, no addresses
FRUGAL = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
ERRORS: dict[str, type[InvalidInput]] = {kind.code: kind for kind in (NotAnImage, TooLarge, InvalidInput)}


Answer = tuple[dict[str, Any], bytes]


class MemoryBudget:
    """A memory budget that jobs share, each taking some bytes."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def take(self, needed: int) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: needed <= self._free)
            self._free -= needed
        try:
            yield
        finally:
            self._free += needed
            async with self._changed:
                self._changed.notify_all()


@dataclass(frozen=True)
class Job:
    """An image file and how it is prepared."""

    data: bytes
    preparation: Preparation
    preprocess: Preprocess


class DecodePool:
    def __init__(self, settings: Settings, max_wait_s: float = MAX_WAIT_S) -> None:
        self._settings = settings
        self._max_wait_s = max_wait_s
        self._turns = asyncio.Semaphore(settings.image_processes)
        self._memory = MemoryBudget(settings.image_memory_bytes)
        self._idle: list[Process] = []
        self._processes: set[Process] = set()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    async def prepare(self, data: bytes, preparation: Preparation, preprocess: Preprocess) -> Prepared:
        """Decode and prepare an image file in a process.

        It raises the errors of the functions ``decode`` and ``prepare``, TooLarge also if it takes too long, and
        Overloaded if no process gets free in time.
        """
        job = Job(data, preparation, preprocess)
        async with self._turn():
            try:
                return await self._prepare(job)
            except (EOFError, ConnectionError):  # the process ended, perhaps because of another image: try once more
                log.warning("a process that decodes images ended; its image is tried once more")
            try:
                return await self._prepare(job)
            except (EOFError, ConnectionError) as error:
                raise NotAnImage("The image crashes its decoder.") from error

    async def close(self) -> None:
        """End every process."""
        self._idle.clear()
        for process in list(self._processes):
            await self._end(process)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._max_wait_s):
                await self._turns.acquire()
        except TimeoutError as error:
            raise Overloaded("Too many large images are waiting; try again in a moment.") from error
        try:
            yield
        finally:
            self._turns.release()

    async def _prepare(self, job: Job) -> Prepared:
        async with self._process() as process:
            values, content = await self._exchange(process, job)
        if needed := values.get("bytes"):
            raise TooLarge(f"The image takes {needed} bytes to decode; at most {self._memory.total} are allowed.")
        if "error" in values:
            raise ERRORS[values["error"]](values["detail"])
        return unpacked(values, content)

    async def _exchange(self, process: Process, job: Job) -> Answer:
        """Send an image, reserve the memory it needs, then receive it decoded."""
        request = {
            "max_pixels": self._settings.max_image_pixels,
            "preparation": job.preparation.model_dump(),
            "preprocess": job.preprocess,
        }
        await self._send(process, frame(request, job.data))
        answer = await self._receive(process)
        if (needed := answer[0].get("bytes")) is None:
            return answer
        if needed > self._memory.total:
            await self._send(process, STOP)
            return answer
        async with self._memory.take(needed):
            await self._send(process, GO)
            return await self._receive(process)

    async def _send(self, process: Process, data: bytes) -> None:
        assert process.stdin is not None
        async with self._deadline():
            for start in range(0, len(data), PIECE):
                process.stdin.write(data[start : start + PIECE])
                await process.stdin.drain()

    async def _receive(self, process: Process) -> Answer:
        async with self._deadline():
            return await _read_frame(process)

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        allowed = self._settings.image_timeout_s
        try:
            async with asyncio.timeout(allowed):
                yield
        except TimeoutError as error:
            log.warning("an image that took longer than %g s was given up", allowed)
            raise TooLarge(f"The image takes longer than {allowed:g} s to decode: send a smaller one.") from error

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[Process]:
        """Lend an idle process or a new one.

        Anything that interrupts its work ends the process.
        """
        process = self._idle.pop() if self._idle else await self._start()
        try:
            if process not in self._processes:
                await self._wait_until_ready(process)
            yield process
        except BaseException:
            await self._end(process)
            raise
        self._idle.append(process)

    async def _start(self) -> Process:
        environment = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE, str(self._settings.image_memory_bytes), str(os.getpid())),
            env=environment | FRUGAL,
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,  # Ctrl-C is the service's, whose end ends the process
        )

    async def _wait_until_ready(self, process: Process) -> None:
        self._processes.add(process)
        async with asyncio.timeout(MAX_START_S):
            await _read_frame(process)

    async def _end(self, process: Process) -> None:
        self._processes.discard(process)
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(process.wait())


async def _read_frame(process: Process) -> Answer:
    assert process.stdout is not None
    lengths = LENGTHS.unpack(await process.stdout.readexactly(LENGTHS.size))
    text, content = [await process.stdout.readexactly(length) for length in lengths]
    return json.loads(text), content
