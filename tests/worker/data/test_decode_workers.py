"""worker.data.decode_workers: photos decoded by other processes, which never outlive this one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.errors import DatasetInvalid, Killed
from core.imaging.preparation import Pixels
from tests.support.photofiles import FORM, PLENTY, pixels_of, write_photos
from worker.data.decode_workers import Decoders

# of its two processes one waits for work, the other for somebody who takes its answers
BUSY = """
import sys, numpy
from worker.data.decode_workers import Decoders
from worker.data.photo_files import PhotoForm
FORM = PhotoForm()
decoders = Decoders(2, FORM, 1_000_000)
decoders.submit(sys.argv[1:], numpy.empty((1, *FORM.shape), "uint8")).result()
many = sys.argv[1:] * 20_000
decoders.submit(many, numpy.broadcast_to(numpy.empty(FORM.shape, "uint8"), (len(many), *FORM.shape)))
print("started", flush=True)
"""


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders(2, FORM, PLENTY) as started:
        yield started


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return write_photos(tmp_path / "größe\n1", 6)  # in lines of JSON any name will do


def room(count: int) -> Pixels:
    return np.zeros((count, *FORM.shape), np.uint8)


def test_they_decode_as_it_would_be_done_here(decoders: Decoders, paths: list[str]) -> None:
    images = room(6)
    halves = [decoders.submit(paths[start : start + 3], images[start : start + 3]) for start in (0, 3)]
    assert [half.result() for half in halves] == [None, None]
    for path, image in zip(paths, images, strict=True):
        np.testing.assert_array_equal(image, pixels_of(path))


def test_a_file_that_changed_is_named_and_the_next_ones_are_read_right(decoders: Decoders, paths: list[str]) -> None:
    Path(paths[1]).unlink()
    Path(paths[2]).write_bytes(Path(paths[2]).read_bytes()[:200])
    for _ in decoders.pids:  # each of them
        with pytest.raises(DatasetInvalid, match=r"(?s)001\.png: No such file.*002\.jpg: The image cannot be read"):
            decoders.submit(paths, room(6)).result()
    images = room(2)
    for _ in decoders.pids:
        decoders.submit(paths[4:], images).result()
        np.testing.assert_array_equal(images[1], pixels_of(paths[5]))


def test_one_that_was_killed_is_told_apart_from_a_bad_file(paths: list[str]) -> None:
    with Decoders(1, FORM, PLENTY) as decoders:
        os.kill(decoders.pids[0], signal.SIGKILL)
        with pytest.raises(Killed, match="exit code -9"):
            decoders.submit(paths, room(6)).result()


def test_they_end_with_their_block_even_in_the_midst_of_work(paths: list[str]) -> None:
    with Decoders(1, FORM, PLENTY) as decoders:
        first, *_, last = [decoders.submit(paths, room(6)) for _ in range(500)]
        first.result()
    assert last.cancelled()
    with pytest.raises(ProcessLookupError):
        os.kill(decoders.pids[0], 0)


def test_they_end_when_the_trainer_is_killed(paths: list[str]) -> None:
    """The processes end when the trainer is killed.

    All of them hold its standard error: it ends when the last of them has ended.
    """
    command = [sys.executable, "-c", f"{BUSY}\nimport time; time.sleep(600)", paths[0]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as trainer:
        assert trainer.stdout is not None
        assert trainer.stderr is not None
        assert trainer.stdout.readline() == b"started\n"
        trainer.kill()
        assert set(trainer.stderr.read().splitlines()) <= {b"the parent process is gone"}  # of one that starts late
    assert trainer.returncode == -signal.SIGKILL
