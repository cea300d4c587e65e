"""Detectors that were taught before, kept: the same images, classes and seed make the same one, in a minute.

It knows nothing of the network, so a second job on the same data has nothing to teach.
"""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from core.artifacts.manifest import from_tensors, read_tensors, write_folder
from core.artifacts.store import ArtifactStore
from core.errors import Damaged, NotFound
from core.imaging.digits import mnist_format
from core.inference import ood_score
from core.inference.network import from_arrays, to_arrays
from core.inference.ood_score import Detector
from worker.data import augmentation
from worker.data.splits import Part
from worker.ood import detector_training, synthetic_letters, synthetic_outliers, synthetic_strokes
from worker.ood.detector_training import pictures, teach

FOLDER, FILE = "detectors", "detector.safetensors"
# a change of any makes another detector
WAYS = (
    ood_score,
    mnist_format,
    augmentation,
    detector_training,
    synthetic_strokes,
    synthetic_letters,
    synthetic_outliers,
)
LIBRARIES = ("torch", "hershey-fonts")


def taught(store: ArtifactStore, train: Part, classes: Sequence[str], seed: int, precision: str) -> Detector:
    """As ``teach``: read, if it was kept and is undamaged; else taught, and kept."""
    key = f"{FOLDER}/{_digest(train, classes, seed, precision)}"
    made = Detector(len(classes))
    try:
        made.load_state_dict(from_arrays(read_tensors(store, key, FILE)))
        return made.to(train.labels.device).eval()
    except (NotFound, Damaged):
        made = teach(train, classes, seed, precision)
    write_folder(store, key, {FILE: from_tensors(to_arrays(made))}, {})
    return made


def _digest(train: Part, classes: Sequence[str], seed: int, precision: str) -> str:
    """Of all that a detector depends on."""
    images, labels = pictures(train)
    versions = [version(library) for library in LIBRARIES]
    found = hashlib.sha256(repr((*classes, seed, precision, train.labels.device.type, *versions)).encode())
    found.update(images.numpy().tobytes())
    found.update(labels.numpy().tobytes())
    for way in WAYS:
        found.update(Path(str(way.__file__)).read_bytes())
    return found.hexdigest()
