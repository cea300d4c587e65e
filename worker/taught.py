"""Detectors that were taught before, kept: the same images, classes and seed make the same one, in a minute.

It knows nothing of the network, so a second job on the same data has nothing to teach.
"""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from core import familiarity
from core.digits import form
from core.errors import Damaged, NotFound
from core.familiarity import Detector
from core.manifest import from_tensors, read_tensors, write_folder
from core.network import from_arrays, to_arrays
from core.store import ArtifactStore
from worker import augment, detector, glyphs, handwriting, outliers
from worker.data import Part
from worker.detector import pictures, teach

FOLDER, FILE = "detectors", "detector.safetensors"
WAYS = (familiarity, form, augment, detector, glyphs, handwriting, outliers)  # a change of any makes another detector
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
