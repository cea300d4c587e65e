"""Measure a model of few photos: its accuracy, and the time until it answers.

Ants and bees, through the HTTP API.

Prints a row for each number of photos of a class: the accuracy of some draws on the 110 other photos, and the seconds
from POST /jobs to the first answer, with the quick preset and with a fine-tuned mobilenet_v2.
"""

import argparse
import random
import shutil
import socket
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tuneserve.cli.processes import ServiceAndWorker, environment
from tuneserve.client import Client, ServiceError

EACH = (2, 5, 10, 20)  # photos of a class
CLASSES = ("ants", "bees")
QUICK, FINE_TUNED = "quick preset", "mobilenet_v2, fine-tuned"
RECIPES: Mapping[str, Mapping[str, Any]] = {QUICK: {"preset": "quick"}, FINE_TUNED: {"network": "mobilenet_v2"}}
SERVED_S = 60.0


@dataclass(frozen=True)
class Run:
    accuracy: float
    served_s: float  # from POST /jobs to the first answer


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.photos.few_shot", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of ants_bees: train and val, a folder per class"
    )
    parser.add_argument("--weights-file", type=Path, help="mobilenet_v2's; without it only the preset is measured")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--fine-tuned-draws", type=int, default=3)
    given = parser.parse_args()
    draws = {QUICK: given.draws} | ({FINE_TUNED: given.fine_tuned_draws} if given.weights_file else {})
    weights = {"TUNESERVE_WEIGHTS_FILE": str(given.weights_file)} if given.weights_file else {}
    with TemporaryDirectory() as made, _started(Path(made), weights) as processes, Client(processes.url) as client:
        processes.wait_until_alive()
        sets = PhotoSets(given.data / "ants_bees", Path(made))
        _run(client, sets, 2, -1, QUICK)  # the first job waits for the worker's imports
        print("| photos of a class |" + "".join(f" {way}: accuracy | s to served |" for way in draws))
        print("|---" * (1 + 2 * len(draws)) + "|")
        for each in EACH:
            print(f"| {each} |", end="", flush=True)
            for way, count in draws.items():
                runs = [_run(client, sets, each, seed, way) for seed in range(count)]
                accuracy, served_s = [run.accuracy for run in runs], [run.served_s for run in runs]
                print(f" {_shares(accuracy)} | {_seconds(served_s)} |", end="", flush=True)
            print()


def _started(folder: Path, weights: Mapping[str, str]) -> ServiceAndWorker:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = environment("127.0.0.1", port, folder / "data")
    return ServiceAndWorker({**given, **weights}, f"http://127.0.0.1:{port}", (folder / "log").open("ab"))


class PhotoSets:
    """Archives of some of the photos, and of all those to test on."""

    def __init__(self, photos: Path, made: Path) -> None:
        self._photos = photos
        self._made = made
        self.unseen = next((photos / "val" / CLASSES[0]).iterdir())

    def archive(self, each: int, seed: int) -> Path:
        """Draw so many photos of each class; return a zip."""
        name, chance = f"photos-{each}-{seed}", random.Random(seed)
        zipped = self._made / f"{name}.zip"
        if not zipped.exists():
            for label in CLASSES:
                photos = sorted((self._photos / "train" / label).iterdir())
                _copy(chance.sample(photos, each), self._made / name / "train" / label)
                _copy((self._photos / "val" / label).iterdir(), self._made / name / "test" / label)
            shutil.make_archive(str(self._made / name), "zip", self._made / name)
        return zipped


def _copy(photos: Iterable[Path], to: Path) -> None:
    to.mkdir(parents=True)
    for photo in photos:
        shutil.copy(photo, to)


def _run(client: Client, sets: PhotoSets, each: int, seed: int, way: str) -> Run:
    name = f"photos-{each}-{seed}-{way.split()[0].rstrip(',')}"
    client.add_dataset(name, sets.archive(each, seed))
    began = time.monotonic()
    client.train(name, **RECIPES[way]).wait()
    _wait_until_served(client, name, sets.unseen)
    return Run(client.model(name).test_accuracy, time.monotonic() - began)


def _wait_until_served(client: Client, name: str, picture: Path) -> None:
    until = time.monotonic() + SERVED_S
    while True:
        try:
            client.predict(picture, model=name)
        except ServiceError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def _shares(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.1%} ({min(values):.1%} to {max(values):.1%} in {len(values)} draws)"


def _seconds(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
