"""Measure predictions while a job trains a ResNet-50.

An idle machine is the comparison.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from benchmarks.servers.load import Server, load, script

ON_CPU = {"dataset": "digits", "network": "resnet50", "weights": "random", "epochs": 500}
ON_GPU = ON_CPU | {"dataset": "mnist", "image_size": 64}  # digits are seen too soon; TUNESERVE_DATASETS_DIR has them
START_S = 300


def beside_training(server: Server, data_dir: Path, body: Path, concurrencies: Sequence[int], seconds: float) -> None:
    """Print a table row for each concurrency.

    It writes to the server's data directory.
    """
    on_gpu = server.environment["TUNESERVE_PREDICT_DEVICE"] == "cuda"
    post, recipe = body.with_suffix(".lua"), ON_GPU if on_gpu else ON_CPU
    post.write_text(script(body, "image/png"))
    environment = os.environ | {"TUNESERVE_DATA_DIR": str(data_dir)}
    quiet = subprocess.DEVNULL
    with server.running():
        idle = {concurrency: load(server, post, concurrency, seconds) for concurrency in concurrencies}
        worker = subprocess.Popen([sys.executable, "-m", "worker"], env=environment, stdout=quiet, stderr=quiet)
        try:
            job = httpx.post(f"{server.url}/jobs", json=recipe).json()["id"]
            _wait_until_it_trains(f"{server.url}/jobs/{job}")
            busy = {concurrency: load(server, post, concurrency, seconds) for concurrency in concurrencies}
            httpx.post(f"{server.url}/jobs/{job}/cancel")
            httpx.get(f"{server.url}/jobs/{job}", params={"wait": 60}, timeout=90)
        finally:
            worker.terminate()
            worker.wait()
    print("| connections | without a training: requests/s (p50, p99 ms) | beside one |\n|---|---|---|")
    for concurrency in concurrencies:
        print(f"| {concurrency} | {idle[concurrency]} | {busy[concurrency]} |")


def _wait_until_it_trains(job: str) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if httpx.get(job).json()["progress"].get("epoch"):
            return
        time.sleep(0.5)
    raise SystemExit("The job did not begin to train.")
