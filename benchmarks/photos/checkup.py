"""Measure a check-up: planted faults found, and processor time.

Planted are parts of photos of ants and bees that were encoded again, and wrong labels of ants and bees and of MNIST.
Prints a row for each: precision, recall, and processor seconds of features and findings.
"""

import argparse
import hashlib
import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from core.artifacts.dataset_files import StoredImage
from core.imaging.decoding import decode
from core.imaging.idx_format import FILES
from core.imaging.preparation import fit_photo
from worker.checkup import near_duplicates, wrong_labels
from worker.checkup.embeddings import embed, kind
from worker.checkup.feature_files import FeatureFiles, Features
from worker.checkup.images import PHOTO_SIDE, SMALL_SIDE, CheckedImages
from worker.checkup.space import project
from worker.data.formats.idx_files import find_idx, read_images, read_labels

PIXELS = 100_000_000
TILES = 3  # parts of a photo along each side
WRONG, COPIED = 0.05, 0.1  # shares


@dataclass(frozen=True)
class Seen:
    features: Features
    seconds: float  # of the processor


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.photos.checkup", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of ants_bees and mnist")
    parser.add_argument("--parts", type=int, default=2_000, help="parts of photos, of which a tenth is encoded again")
    parser.add_argument("--digits", type=int, default=10_000)
    parser.add_argument("--draws", type=int, default=10)
    given = parser.parse_args()
    print("| planted | precision | recall | features, CPU s | findings, CPU s |\n|---|---|---|---|---|", flush=True)
    _copies(given.data, given.parts)
    photos = sorted((given.data / "ants_bees").rglob("*.jp*g"))
    labels = np.array([path.parent.name == "bees" for path in photos]).astype(np.int64)
    pictures = [decode(path.read_bytes(), PIXELS) for path in photos]
    _labels(f"labels of {len(photos)} ants and bees", _look(pictures, PHOTO_SIDE), labels, given.draws)
    digits, right = (_idx(given.data / "mnist", file) for file in FILES[:2])
    drawn = [Image.fromarray(image[..., 0]) for image in read_images(digits)[: given.digits]]
    _labels(f"labels of {len(drawn)} digits", _look(drawn, SMALL_SIDE), read_labels(right)[: given.digits], 1)


def _copies(data: Path, count: int) -> None:
    chance = np.random.default_rng(0)
    paths = sorted((data / "ants_bees").rglob("*.jp*g"))
    parts = [part for path in paths for part in _parts(decode(path.read_bytes(), PIXELS))]
    pictures = [parts[place] for place in chance.permutation(len(parts))[:count]]
    copied = chance.choice(len(pictures), int(len(pictures) * COPIED), replace=False)
    seen = _look(pictures + [_again(pictures[place], chance) for place in copied], PHOTO_SIDE)
    started = time.process_time()
    directions = functional.normalize(project(torch.from_numpy(seen.features.embeddings)), dim=1)
    pairs = near_duplicates.find(directions, torch.from_numpy(seen.features.pictures))
    planted = {(len(pictures) + number, int(place)) for number, place in enumerate(copied)}
    right = len({(pair.image, pair.like) for pair in pairs} & planted)
    of = f"{len(copied)} copies among {len(pictures)} parts of photos"
    _row(of, right / max(1, len(pairs)), right / len(planted), seen.seconds, time.process_time() - started)


def _parts(photo: Image.Image) -> list[Image.Image]:
    width, height = photo.width // TILES, photo.height // TILES
    corners = [(column * width, row * height) for row in range(TILES) for column in range(TILES)]
    return [photo.crop((left, top, left + width, top + height)).convert("RGB") for left, top in corners]


def _again(picture: Image.Image, chance: np.random.Generator) -> Image.Image:
    """Make a picture smaller by up to half and encode it as JPEG of quality 30 to 90."""
    scale, file = chance.uniform(0.5, 1), io.BytesIO()
    size = (max(8, int(picture.width * scale)), max(8, int(picture.height * scale)))
    picture.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=int(chance.integers(30, 91)))
    return decode(file.getvalue(), PIXELS)


def _labels(of: str, seen: Seen, right: np.ndarray, draws: int) -> None:
    """Plant wrong labels some times; print the means."""
    rows = []
    for seed in range(draws):
        chance, given = np.random.default_rng(seed), right.copy()
        planted = chance.choice(len(right), round(WRONG * len(right)), replace=False)
        classes = int(right.max()) + 1
        given[planted] = (right[planted] + chance.integers(1, classes, len(planted))) % classes
        started = time.process_time()
        blocks = [torch.from_numpy(seen.features.embeddings)]
        if classes > 2:  # small images, of which the check-up compares pixels too
            blocks.append(torch.from_numpy(seen.features.pictures).flatten(1))
        found = {one.image for one in wrong_labels.find(project(*blocks), torch.from_numpy(given), classes)}
        both = len(found & set(planted.tolist()))
        rows.append((both / max(1, len(found)), both / len(planted), time.process_time() - started))
    precision, recall, findings = np.mean(rows, 0)
    _row(of, precision, recall, seen.seconds, findings)


def _look(pictures: Sequence[Image.Image], side: int) -> Seen:
    started = time.process_time()
    images = [
        StoredImage("train", "", "", hashlib.sha256(str(row).encode()).hexdigest()) for row in range(len(pictures))
    ]
    checked = CheckedImages(images, side, lambda row, wide: fit_photo(pictures[row], wide, "squash"))
    with tempfile.TemporaryDirectory() as folder:
        features = embed(checked, FeatureFiles(Path(folder), kind(side)), lambda _: None)
    return Seen(features, time.process_time() - started)


def _idx(folder: Path, file: str) -> Path:
    path = find_idx(folder, folder.name, file)
    assert path is not None, folder
    return path


def _row(of: str, precision: float, recall: float, features_s: float, findings_s: float) -> None:
    print(f"| {of} | {precision:.0%} | {recall:.0%} | {features_s:.0f} | {findings_s:.1f} |", flush=True)


if __name__ == "__main__":
    main()
