"""``python -m benchmarks.real_digits``: test a model on digits other than MNIST's.

It also shows what preprocessing does. Needs the folder of a published model (--model: model.onnx and model.json) and
digits in files whose names begin with the digit, in a folder per source (--photos). With MNIST's test files (--mnist)
some of its digits are drawn under each hardship of benchmarks.hardships. Prints tables: right answers with
preprocess=center, with auto, and with auto when light and dark are exchanged; and how often the answer is the same when
they are.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

from benchmarks.hardships import HARDSHIPS
from core.imaging.decoding import decode
from core.imaging.preparation import Preparation, Preprocess, prepare
from worker.data.formats.idx_files import find_idx, read_images, read_labels

PIXELS = 100_000_000
BATCH = 64


class Reader:
    """A model's files, run without a service."""

    def __init__(self, folder: Path, threads: int) -> None:
        card: dict[str, Any] = json.loads((folder / "model.json").read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        graph = folder / card.get("serving", {}).get("file", "model.onnx")
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._preparation = Preparation.model_validate(card["preparation"])
        self._classes = np.array(card["classes"])

    def read(self, pictures: Iterable[Image.Image], preprocess: Preprocess) -> list[str]:
        """Return a label for each picture, "" for a blank one."""
        prepared = [prepare(picture, self._preparation, preprocess) for picture in pictures]
        labels: list[str] = []
        for start in range(0, len(prepared), BATCH):
            images = np.stack([entry.pixels for entry in prepared[start : start + BATCH]])
            (logits,) = self._session.run(["logits"], {"images": images})
            labels += self._classes[logits.argmax(1)].tolist()
        return ["" if entry.blank else label for entry, label in zip(prepared, labels, strict=True)]


def main() -> None:
    given = _arguments().parse_args()
    reader = Reader(given.model, given.threads)
    if given.photos:
        _photos(reader, given.photos)
    if given.mnist:
        _hardships(reader, given.mnist, given.count)


def _photos(reader: Reader, folder: Path) -> None:
    _head("source")
    files = sorted(file for file in folder.rglob("*.*") if file.is_file() and file.name[0].isdigit())
    total = np.zeros(5, int)
    for source, group in groupby(files, key=lambda file: file.parent):
        names = list(group)
        pictures = [decode(file.read_bytes(), PIXELS) for file in names]
        total += _row(reader, source.name, pictures, [file.name[0] for file in names])
    _print("all", total)


def _hardships(reader: Reader, mnist: Path, count: int) -> None:
    images, labels = (find_idx(mnist, "MNIST", f"t10k-{part}-ubyte") for part in ("images-idx3", "labels-idx1"))
    if images is None or labels is None:
        raise SystemExit(f"MNIST's test files are not in {mnist}.")
    chosen = np.random.default_rng(0).permutation(10_000)[:count]
    digits, truth = read_images(images)[chosen, ..., 0], [str(label) for label in read_labels(labels)[chosen]]
    _head("hardship")
    _row(reader, "none", [Image.fromarray(digit) for digit in digits], truth)
    total = np.zeros(5, int)
    for name, hardship in HARDSHIPS.items():
        drawn = [hardship(np.random.default_rng((0, number)), digit) for number, digit in enumerate(digits)]
        total += _row(reader, name, [decode(data, PIXELS) for data in drawn], truth)
    _print("all", total)


def _row(reader: Reader, name: str, pictures: Sequence[Image.Image], truth: Sequence[str]) -> np.ndarray:
    """Print how many pictures are read right, in each way.

    The row also has how many there are, and how many are read the same in either polarity.
    """
    negatives = [ImageOps.invert(picture.convert("RGB")) for picture in pictures]
    answers = (reader.read(pictures, "center"), reader.read(pictures, "auto"), reader.read(negatives, "auto"))
    right = [sum(label == true for label, true in zip(labels, truth, strict=True)) for labels in answers]
    same = sum(label == other for label, other in zip(answers[1], answers[2], strict=True))
    counts = np.array([len(truth), *right, same])
    _print(name, counts)
    return counts


def _head(what: str) -> None:
    print(
        f"\n| {what} | digits | right with center | right with auto | light and dark exchanged | same answer |"
        "\n|---|---|---|---|---|---|"
    )


def _print(name: str, counts: np.ndarray) -> None:
    print(f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |", flush=True)


def _arguments() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, required=True)
    options.add_argument("--photos", type=Path)
    options.add_argument("--mnist", type=Path)
    options.add_argument("--count", type=int, default=60, help="MNIST digits per hardship")
    options.add_argument("--threads", type=int, default=1)
    return options


if __name__ == "__main__":
    main()
