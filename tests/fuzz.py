"""``python -m tests.fuzz --rounds 10000 --seed 1``: send malformed requests.

It also sends floods of headers, and reports what came of them all.
"""

import argparse
import asyncio
import logging
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import numpy as np

from core.artifacts.manifest import write_folder
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.repositories import models
from core.settings import Settings
from tests.conftest import NOW, port_of, running, serving
from tests.support.fakes import model_card, self_test_samples, tiny_onnx
from tests.support.fuzzing.header_floods import CONCURRENCY, answer_to, fault_of, flood
from tests.support.fuzzing.mutations import ROUND, Sent

log = logging.getLogger("fuzz")
WINDOW = 2_000  # rounds
TELL_EVERY = 500  # rounds
MAX_GROWTH_MB = 400  # of what is resident in the service, at any time
MAX_LIVEZ_S = 1.0  # that /livez takes beside all this
LIVEZ_EVERY_S = 0.05
FLOOD_TIMEOUT_S = 0.5  # of headers that stand still


@dataclass
class Figures:
    answers: Counter[int] = field(default_factory=Counter)  # by status
    failures: list[str] = field(default_factory=list)  # answers of 5xx, and exceptions
    resident_mb: list[float] = field(default_factory=list)  # after each round
    peak_growth_mb: float = 0.0  # the most that was resident at any time, over what was at the beginning
    livez_s: list[float] = field(default_factory=list)  # of each /livez meanwhile

    def memory_mb(self) -> list[float]:
        """Return the median memory of each WINDOW rounds."""
        windows = [self.resident_mb[first : first + WINDOW] for first in range(0, len(self.resident_mb), WINDOW)]
        return [round(statistics.median(window), 1) for window in windows]

    def summary(self) -> str:
        """Summarise what has been seen so far.

        A run that is cut off says something too.
        """
        statuses = ", ".join(f"{count} of {status}" for status, count in sorted(self.answers.items()))
        return (
            f"{len(self.resident_mb)} rounds, {len(self.failures)} failures; {self.peak_growth_mb:.0f} MB more than at "
            f"the beginning at the most (allowed: {MAX_GROWTH_MB}); /livez {len(self.livez_s)} times, half within "
            f"{1000 * statistics.median(self.livez_s):.0f} ms, all within {max(self.livez_s):.2f} s (allowed: "
            f"{MAX_LIVEZ_S:.0f}); {statuses}"
        )

    @property
    def is_good(self) -> bool:
        return not self.failures and self.peak_growth_mb <= MAX_GROWTH_MB and max(self.livez_s) <= MAX_LIVEZ_S


async def fuzz(settings: Settings, seed: int, rounds: int) -> Figures:
    """Send each kind of request in turn, archives less often.

    The same seed sends the same requests.
    """
    publish(settings)
    chance, figures = Random(seed), Figures()
    spawned = multiprocessing.get_context("spawn")  # drawing takes 130 MB at times, which are not the service's
    with ProcessPoolExecutor(1, spawned) as drawing:
        drawing.submit(_draw, 0, Random(seed)).result()  # it starts before anything is measured
        async with running(settings) as http:
            began = _resident_mb()
            _forget_peak()
            watching = asyncio.create_task(_watch(http, figures))
            for number in range(1, rounds + 1):
                sent, chance = await asyncio.wrap_future(drawing.submit(_draw, number, chance))
                await _send(http, sent, figures)
                figures.resident_mb.append(_resident_mb())
                figures.peak_growth_mb = _peak_mb() - began
                if number % TELL_EVERY == 0:
                    log.info("%s", figures.summary())
            watching.cancel()
    return figures


async def fuzz_headers(settings: Settings, seed: int, rounds: int) -> Figures:
    """Send floods of headers over sockets, a few at a time.

    The same seed sends the same floods.
    """
    publish(settings)
    chance, figures, turn = Random(seed), Figures(), asyncio.Semaphore(CONCURRENCY)
    hasty = settings.model_copy(update={"header_timeout_s": FLOOD_TIMEOUT_S})

    async def send(port: int) -> None:
        async with turn:
            sent = flood(chance)
            status = await answer_to(sent, port)
        figures.answers[status] += 1
        figures.resident_mb.append(_resident_mb())
        if fault := fault_of(sent, status, settings.max_header_bytes):
            figures.failures.append(fault)

    with serving(hasty) as server:
        began = _resident_mb()
        _forget_peak()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port_of(server)}", timeout=60) as http:
            watching = asyncio.create_task(_watch(http, figures))
            await asyncio.gather(*(send(port_of(server)) for _ in range(rounds)))
            watching.cancel()
    figures.peak_growth_mb = _peak_mb() - began
    return figures


def _draw(number: int, chance: Random) -> tuple[Sent, Random]:
    return ROUND[number % len(ROUND)](chance), chance


async def _watch(http: httpx.AsyncClient, figures: Figures) -> None:
    """Time /livez until this is cancelled."""
    while True:
        started = time.monotonic()
        answer = await http.get("/livez")
        figures.livez_s.append(time.monotonic() - started)
        if answer.status_code != 200:
            figures.failures.append(f"/livez: {answer.status_code} {answer.text}")
        await asyncio.sleep(LIVEZ_EVERY_S)


def publish(settings: Settings) -> None:
    """Publish a model that answers, whatever it says."""
    db = Database(settings.resolved_database_url)
    db.migrate()
    graph = tiny_onnx(np.random.default_rng(0).normal(0, 0.01, (784, 10)).astype(np.float32))
    files = {"model.onnx": graph} | self_test_samples(graph)
    listing = write_folder(LocalStore(settings.data_dir), "models/model_1", files, {"id": "model_1"})
    with db.write() as session:
        models.publish(session, "model_1", "job_1", "models/model_1", model_card() | {"files": listing}, NOW)
    db.close()


async def _send(http: httpx.AsyncClient, sent: Sent, figures: Figures) -> None:
    told = f"{sent.method} {sent.path} {sent.headers} {sent.content[:200]!r}"
    try:
        request = http.build_request(sent.method, sent.path, content=sent.content, headers=sent.headers)
    except (httpx.InvalidURL, UnicodeEncodeError):
        return
    try:
        answer = await http.send(request)
    except httpx.RemoteProtocolError:  # the client's own: it reads a redirect to the odd Host that it sent
        return
    except Exception:  # whatever it is that the service let through: it is what is looked for
        figures.failures.append(f"{told}\n{traceback.format_exc()}")
        return
    figures.answers[answer.status_code] += 1
    if answer.status_code >= 500:
        figures.failures.append(f"{told}\n{answer.status_code} {answer.text}")


def _resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # proc(5)


def _peak_mb() -> float:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database-url", help="URL of an empty database; default: SQLite in a temporary folder")
    asked = parser.parse_args()
    logging.basicConfig(format="%(message)s", stream=sys.stdout, level=logging.ERROR)
    log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        settings = Settings(
            data_dir=Path(folder),
            database_url=asked.database_url,
            predict_threads=1,
            min_free_bytes=0,
            max_queued_jobs=100_000,
        )
        spoilt = _report(lambda: fuzz(settings, asked.seed, asked.rounds))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        log.info("floods of headers:")
        own = Settings(data_dir=Path(folder), predict_threads=1)
        flooded = _report(lambda: fuzz_headers(own, asked.seed, asked.rounds))
    return 0 if spoilt and flooded else 1


def _report(run: Callable[[], Coroutine[Any, Any, Figures]]) -> bool:
    """Run the fuzzing, log its figures and return whether they are good."""
    started = time.monotonic()
    figures = asyncio.run(run())
    for failure in figures.failures:
        log.info("%s\n", failure)
    log.info("%s", figures.summary())
    log.info(
        "in %.0f s; resident MB, the median of each %d rounds: %s",
        *(time.monotonic() - started, WINDOW, figures.memory_mb()),
    )
    return figures.is_good


if __name__ == "__main__":
    sys.exit(main())
