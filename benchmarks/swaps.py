"""``python -m benchmarks.swaps``: time until a published model answers, and of rollbacks.

Needs a data directory with a served model (--data-dir), which is copied; what is published is that model again, under
another id. Each request is a new connection, so that every process of the service is reached. Prints a row for each
number of processes, in seconds: medians and spreads over the rounds.
"""

import argparse
import statistics
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import httpx

from benchmarks.servers.load import Server
from benchmarks.servers.ours import copied, service
from core.db.database import Database
from core.model_references import SERVING
from core.repositories import aliases, models
from core.settings import Settings

IN_A_ROW = 30  # answers by the new model after which all processes are thought to serve it


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data-dir", type=Path, required=True)
    options.add_argument("--image", type=Path, default=Path("tuneserve/digits/7.png"))
    options.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    print("| processes | published: first answer | last of the old model | rolled back: first | last of the other |")
    print("|---|---|---|---|---|")
    for processes in given.processes:
        with copied(given.data_dir) as data_dir:
            server = service(data_dir, PROCESSES=processes)
            with server.running():
                rounds = [_round(server, data_dir, given.image.read_bytes()) for _ in range(given.rounds)]
        print(f"| {processes} | {' | '.join(_cell(column) for column in zip(*rounds, strict=True))} |", flush=True)


def _round(server: Server, data_dir: Path, image: bytes) -> tuple[float, float, float, float]:
    db = Database(Settings(data_dir=data_dir).resolved_database_url)
    with db.write() as session:
        old = models.find_whole(session, None)
        name = uuid.uuid4().hex
        new = models.publish(session, f"model_{name}", f"job_{name}", old.key, old.card, time.time())
        aliases.set_alias(session, new.name, SERVING, new.version, time.time())
    published = _followed(server, image, new.id)
    path = f"/models/{old.name}/aliases/{SERVING}"
    httpx.put(f"{server.url}{path}", json={"version": old.version}).raise_for_status()
    rolled_back = _followed(server, image, old.id)
    db.close()
    return *published, *rolled_back


def _followed(server: Server, image: bytes, model_id: str) -> tuple[float, float]:
    """Measure how soon a model's answers replace the others.

    Return the seconds until its first answer and until the last answer of another.
    """
    began, first, last_other, in_a_row = time.perf_counter(), 0.0, 0.0, 0
    with httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), headers={"Content-Type": "image/png"}) as http:
        while in_a_row < IN_A_ROW:
            answer = http.post(f"{server.url}/predict", content=image).raise_for_status().json()
            now = time.perf_counter() - began
            if answer["model"]["id"] == model_id:
                first, in_a_row = first or now, in_a_row + 1
            else:
                last_other, in_a_row = now, 0
    return first, last_other


def _cell(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    main()
