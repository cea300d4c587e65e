"""Processes that decode photos for the trainer.

Both ends of their pipes are here. No torch, for a fast start.

A request is a path, as a line of JSON. The response is a length, then an error message of so many bytes, or with length
0 the pixels. They are separate programs, since forking a process with threads and a GPU is not safe. They die
with the trainer, stopped ones too.
"""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from io import BufferedReader
from queue import SimpleQueue
from types import TracebackType
from typing import BinaryIO, Self

from core.errors import DatasetInvalid, InternalFailure, Killed
from core.imaging.preparation import Pixels
from core.parent_death import die_with
from worker.data.photo_files import Photo, PhotoForm, read

LENGTH = struct.Struct("<q")
PIPE_BYTES = 2**18  # holds a photo while the next is decoded, and the paths of a piece; on Linux


class Decoders:
    """A pool of decoding processes.

    Each is served by a thread of this process.
    """

    def __init__(self, count: int, form: PhotoForm, max_pixels: int) -> None:
        self._processes = [_start(form, max_pixels) for _ in range(count)]
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(count, "decoder")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for process in self._processes:
            process.kill()  # it holds no state; a pending read ends
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def submit(self, paths: Sequence[str], out: Pixels) -> Future[None]:
        """Decode a few photos into ``out`` [n, h, w, c].

        The future raises DatasetInvalid for unreadable files.
        """
        return self._threads.submit(self._fill, paths, out)

    def _fill(self, paths: Sequence[str], out: Pixels) -> None:
        process = self._idle.get()
        try:
            problems = _decode(process, paths, out)
        except (EOFError, OSError) as error:
            raise _death_of(process) from error
        finally:
            self._idle.put(process)
        if problems:
            raise DatasetInvalid(f"Changed since the job began: {'; '.join(problems)}")


def main() -> None:
    arguments = json.loads(sys.argv[1])
    die_with(arguments["parent"])
    form, max_pixels = PhotoForm(**arguments["form"]), arguments["max_pixels"]
    try:
        for line in sys.stdin.buffer:
            _answer(sys.stdout.buffer, read(json.loads(line), form, max_pixels))
    except BrokenPipeError:
        os._exit(0)  # the trainer has died


def _start(form: PhotoForm, max_pixels: int) -> subprocess.Popen[bytes]:
    arguments = json.dumps({"form": asdict(form), "max_pixels": max_pixels, "parent": os.getpid()})
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "worker.data.decode_workers", arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pipesize=PIPE_BYTES,
    )


def _answer(out: BinaryIO, photo: Photo | str) -> None:
    problem, pixels = (photo.encode(errors="replace"), b"") if isinstance(photo, str) else (b"", photo.pixels.tobytes())
    out.write(LENGTH.pack(len(problem)) + problem + pixels)
    out.flush()


def _decode(process: subprocess.Popen[bytes], paths: Sequence[str], out: Pixels) -> list[str]:
    """Decode files into ``out`` in a process; return the problems.

    Each unreadable file is a problem.
    """
    assert process.stdin is not None
    assert isinstance(process.stdout, BufferedReader)
    process.stdin.write(b"".join(json.dumps(path).encode() + b"\n" for path in paths))
    process.stdin.flush()
    problems = []
    for image in out:
        header = bytearray(LENGTH.size)
        _read_all(process.stdout, memoryview(header))
        (length,) = LENGTH.unpack(header)
        problem = bytearray(length)
        _read_all(process.stdout, memoryview(problem) if length else image.data)
        if problem:
            problems.append(problem.decode())
    return problems


def _read_all(pipe: BufferedReader, into: memoryview) -> None:
    if pipe.readinto(into) < into.nbytes:
        raise EOFError


def _death_of(process: subprocess.Popen[bytes]) -> Killed | InternalFailure:
    code = process.wait()
    kind = Killed if code < 0 else InternalFailure
    return kind(f"A process that decodes images ended with exit code {code}.")


if __name__ == "__main__":
    main()
