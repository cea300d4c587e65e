"""``python -m benchmarks.start``: measure the service's start-up time and memory.

The time ends with the first prediction. Needs a data directory with a served model (--data-dir). Prints a row of a
table: medians and spreads.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from benchmarks.servers.ours import resident_mib, service

REQUESTS = 100
TIMEOUT_S = 120


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data-dir", type=Path, required=True)
    options.add_argument("--image", type=Path, default=Path("tuneserve/digits/7.png"))
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    runs = [_run(given.data_dir, given.image.read_bytes()) for _ in range(given.rounds)]
    ready, resident, torch = zip(*runs, strict=True)
    print(f"| start to the first 200 of /predict, s | resident after {REQUESTS} requests, MiB | torch in memory |")
    print(f"|---|---|---|\n| {_row(ready, 2)} | {_row(resident, 0)} | {'yes' if any(torch) else 'no'} |")


def _run(data_dir: Path, image: bytes) -> tuple[float, float, bool]:
    """Measure one start of the service.

    Return seconds to the first prediction, MiB, and whether torch's library is loaded.
    """
    server = service(data_dir)
    began = time.perf_counter()
    with server.running(wait=False), httpx.Client(headers={"Content-Type": "image/png"}) as http:
        while not _answers(http, f"{server.url}/predict", image):
            if time.perf_counter() - began > TIMEOUT_S:
                raise SystemExit("The service did not answer.")
            time.sleep(0.002)
        ready_s = time.perf_counter() - began
        for _ in range(REQUESTS):
            http.post(f"{server.url}/predict", content=image).raise_for_status()
        return ready_s, resident_mib(server.pid), "libtorch" in Path(f"/proc/{server.pid}/maps").read_text()


def _answers(http: httpx.Client, url: str, image: bytes) -> bool:
    try:
        return http.post(url, content=image).status_code == 200
    except httpx.TransportError:
        return False


def _row(values: Sequence[float], digits: int) -> str:
    least, most = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return f"{statistics.median(values):.{digits}f} ({least}-{most} in {len(values)} runs)"


if __name__ == "__main__":
    main()
