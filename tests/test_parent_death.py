"""core.parent_death: no child outlives its worker or service.

The child may even be stopped.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.settings import Settings

PATIENCE_S = 100.0
# The worker's programs stop themselves at the line that follows die_with_parent(): a stopped one sees no pipe that
# closes and sends no heartbeat, so that only the kernel can end it.
STOPS_ITSELF = """#!{python}
import os, runpy, signal, sys
os.nice = lambda _by: os.kill(os.getpid(), signal.SIGSTOP)
sys.argv[:] = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
WORKER = """
import sys, time
from core.repositories import batch_predictions, jobs
from core.settings import Settings
from worker.processes.launcher import start_batch, start_export, start_trainer

sys.executable = sys.argv[1]
settings = Settings()
started = [
    start_trainer(jobs.Claim("job_x", 1), settings),
    start_batch(batch_predictions.Claim("batch_x", 1), settings),
    start_export("model_x", settings),
]
print(*(process.pid for process in started), flush=True)
time.sleep(600)
"""
SERVICE = """
import asyncio, io, os, signal
from PIL import Image
from core.imaging.preparation import Preparation
from core.settings import Settings
from service.inference.decode_pool import DecodePool

async def main():
    preparation = Preparation(
        style="photo", height=224, width=224, channels=3, image_size=224, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    Image.new("RGB", (300, 300)).save(file := io.BytesIO(), "PNG")
    pool = DecodePool(Settings())
    await pool.prepare(file.getvalue(), preparation, "auto")
    for pid in pool.pids:
        os.kill(pid, signal.SIGSTOP)
    print(*pool.pids, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
TRAINER = """
import os, signal, sys, time
import numpy as np
from PIL import Image
from worker.data.decode_workers import Decoders
from worker.data.photo_files import PhotoForm

Image.new("RGB", (300, 300)).save(sys.argv[1])
with Decoders(1, PhotoForm(), 10**6) as decoders:
    decoders.submit([sys.argv[1]], np.empty((1, *PhotoForm().shape), np.uint8)).result()
    for pid in decoders.pids:
        os.kill(pid, signal.SIGSTOP)
    print(*decoders.pids, flush=True)
    time.sleep(600)
"""


class Family:
    """A parent process and the children whose ids it prints."""

    def __init__(self, script: str, settings: Settings, *arguments: str) -> None:
        self.parent = subprocess.Popen(
            [sys.executable, "-c", script, *arguments], env=os.environ | settings.environment(), stdout=subprocess.PIPE
        )
        assert self.parent.stdout is not None
        self.children = [int(pid) for pid in self.parent.stdout.readline().split()]

    def kill_parent(self) -> None:
        self.parent.kill()
        self.parent.wait()

    def end(self) -> None:
        self.kill_parent()
        assert self.parent.stdout is not None
        self.parent.stdout.close()
        for pid in self.children:
            if state(pid) not in ("gone", "Z"):
                os.kill(pid, signal.SIGKILL)


def state(pid: int) -> str:
    """Read a process's state: R, S, T, Z or gone.

    T is stopped; Z is a zombie that nobody waits for.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"


def wait_for(pids: list[int], *states: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not all(state(pid) in states for pid in pids):
        assert time.monotonic() < until, [state(pid) for pid in pids]
        time.sleep(0.05)


@pytest.fixture
def family(settings: Settings) -> Iterator[Callable[..., Family]]:
    made: list[Family] = []

    def start(script: str, *arguments: str) -> Family:
        made.append(Family(script, settings, *arguments))
        return made[-1]

    yield start
    for one in made:
        one.end()


def test_trainer_batch_and_export_die_with_their_worker(family: Callable[..., Family], tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text(STOPS_ITSELF.format(python=sys.executable))
    program.chmod(0o755)
    worker = family(WORKER, str(program))
    assert len(worker.children) == 3
    wait_for(worker.children, "T")
    worker.kill_parent()
    wait_for(worker.children, "gone", "Z")


def test_a_process_that_decodes_images_dies_with_its_service_or_trainer(
    family: Callable[..., Family], tmp_path: Path
) -> None:
    for parent in (family(SERVICE), family(TRAINER, str(tmp_path / "photo.png"))):
        assert len(parent.children) == 1
        wait_for(parent.children, "T")
        parent.kill_parent()
        wait_for(parent.children, "gone", "Z")
