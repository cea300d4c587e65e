"""Features of training images, to find those nearest to another image.

The file TRAINING_IMAGES of a model has ``labels``, int64 k; ``numbers``, int64 k, of the images within their data set,
0 where it numbers none; and ``features``, float16 k x d, of length 1. If the OOD score is the distance to the same
images, its file has the features.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.artifacts.manifest import fetch_checked, from_tensors, has_tensor, read_blocks
from core.artifacts.model_files import OOD_SCORE, TRAINING_IMAGES
from core.artifacts.store import ArtifactStore
from core.db.tables import Model
from core.errors import Conflict

MAX_IMAGES = 10_000  # of a model
TINY = 1e-12  # length of features below which they have no direction
BLOCK = 1_000  # images that are compared at a time
FEATURES, SAME_FEATURES = "features", "images"  # in the file, and in that of the OOD score
Features = npt.NDArray[np.float32]  # n x d
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Near:
    """A training image, and its distance to another image."""

    number: int | None  # within the data set
    class_index: int
    distance: float  # 0 to 2: 1 minus the cosine of the features


def directions(features: Features) -> Features:
    """Scale the features of each image to length 1."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, TINY), np.float32)


def pack(labels: Numbers, numbers: Numbers | None, features: Features | None) -> bytes:
    """Make the file; without ``features`` if the OOD score's file has them."""
    tensors = {"labels": labels, "numbers": np.zeros_like(labels) if numbers is None else numbers}
    return from_tensors(tensors | ({} if features is None else {FEATURES: directions(features).astype(np.float16)}))


def find_nearest(store: ArtifactStore, model: Model, features: Features, count: int) -> list[list[Near]]:
    """Return the nearest training images of each image, the nearest first."""
    path = _checked(store, model.key, TRAINING_IMAGES)
    labels, numbers = (np.concatenate([*read_blocks(path, name, MAX_IMAGES)]) for name in ("labels", "numbers"))
    alike = _cosines(store, model, directions(features))
    rows = np.argsort(-alike, axis=1, kind="stable")[:, :count]
    return [
        [Near(int(numbers[row]) or None, int(labels[row]), max(0.0, 1 - float(cosines[row]))) for row in nearest]
        for nearest, cosines in zip(rows.tolist(), alike, strict=True)
    ]


def require_training_images(model: Model) -> None:
    """Raise Conflict if the model kept no training images."""
    if TRAINING_IMAGES not in model.card.get("files", {}):
        raise Conflict(f"{model.name}/{model.version} kept no features of its training images: train it again.")


def _cosines(store: ArtifactStore, model: Model, wanted: Features) -> Features:
    """Compare images with all training images, n x k."""
    path, name = _checked(store, model.key, TRAINING_IMAGES), FEATURES
    if not has_tensor(path, name):
        path, name = _checked(store, model.key, OOD_SCORE), SAME_FEATURES
    return np.concatenate([wanted @ block.astype(np.float32).T for block in read_blocks(path, name, BLOCK)], axis=1)


@lru_cache(maxsize=64)
def _checked(store: ArtifactStore, key: str, name: str) -> Path:
    """Return a file's path; its digest is checked on first use."""
    return fetch_checked(store, key, name)
