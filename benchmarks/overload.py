"""Measure a server under ten times the load that it can answer.

The figures are what is still answered, and how fast the rest is rejected.
"""

import threading
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks.servers.load import Server, load, script
from benchmarks.servers.ours import resident_mib, service

TIMES, CONNECTIONS, QUEUE = 10, 200, 32
SAMPLE_S = 0.02  # between requests whose rejections are timed: wrk does not distinguish statuses


def overload(data_dir: Path, body: Path, seconds: float) -> None:
    """Print a row of a table; ``body`` is an image file."""
    capacity = _load(service(data_dir), body, 32, 0, seconds)[0]
    pause_ms = 1000 * CONNECTIONS / (TIMES * capacity)
    server = service(data_dir, PREDICT_QUEUE=QUEUE, MAX_IMAGES_PER_REQUEST=QUEUE)
    goodput, refused, before, after, took_ms = _load(server, body, CONNECTIONS, pause_ms, seconds)
    print("| capacity, answers/s | offered | answered, of capacity | refused | p99 of refusals, ms | resident MiB |")
    print(f"|---|---|---|---|---|---|\n| {capacity:,.0f} | {(goodput + refused) / capacity:.1f} times ", end="")
    print(f"| {goodput:,.0f}, {goodput / capacity:.0%} | {refused / (goodput + refused):.0%} ", end="")
    print(f"| {np.percentile(took_ms, 99) if took_ms else float('nan'):.1f} of {len(took_ms)} ", end="")
    print(f"| {before:.0f} before, {after:.0f} after |")


def _load(
    server: Server, body: Path, connections: int, pause_ms: float, seconds: float
) -> tuple[float, float, float, float, list[float]]:
    """Measure a server under load from paced connections.

    Return answers/s and rejections/s, MiB before and after, and times of sampled rejections in ms.
    """
    post, over, took_ms = body.with_suffix(".lua"), threading.Event(), list[float]()
    with server.running():
        post.write_text(script(body, "image/png"))
        load(server, post, 8, 1)  # whatever grows with the first requests
        before = resident_mib(server.pid)
        post.write_text(script(body, "image/png", pause_ms))
        sampling = threading.Thread(target=_sample, args=(server, body.read_bytes(), over, took_ms))
        sampling.start()
        measured = load(server, post, connections, seconds)
        over.set()
        sampling.join()
        return measured.per_s, measured.failed / seconds, before, resident_mib(server.pid), took_ms


def _sample(server: Server, image: bytes, over: threading.Event, took_ms: list[float]) -> None:
    with httpx.Client(base_url=server.url, headers={"Content-Type": "image/png"}) as http:
        while not over.wait(SAMPLE_S):
            began = time.perf_counter()
            if http.post("/predict", content=image).status_code == 429:
                took_ms.append(1000 * (time.perf_counter() - began))
