"""Atomic folders of files: the manifest is written last.

Checkpoints and models are such folders, made of safetensors and JSON. Never pickle, which can run code when loaded.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import load as from_safetensors
from safetensors.numpy import load_file
from safetensors.numpy import save as to_safetensors

from core.artifacts.store import ArtifactStore
from core.errors import Damaged

Tensors = Mapping[str, npt.NDArray[Any]]
Listing = dict[str, dict[str, Any]]  # file name -> size_bytes, sha256
MANIFEST = "manifest.json"


def write_folder(store: ArtifactStore, key: str, files: Mapping[str, bytes], about: Mapping[str, Any]) -> Listing:
    """Write files and a manifest; return its listing.

    The manifest comes last and has each file's size and sha256. A failed write removes the folder: on a full disk no
    row would ever refer to those bytes.
    """
    listing: Listing = {}
    try:
        for name, data in files.items():
            store.put(f"{key}/{name}", data)
            listing[name] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        store.put(f"{key}/{MANIFEST}", to_json({**about, "files": listing}))
    except OSError:
        store.delete(key)
        raise
    return listing


def read_manifest(store: ArtifactStore, key: str) -> dict[str, Any]:
    """Read a folder's manifest; NotFound without one.

    A folder without manifest was never finished.
    """
    manifest: dict[str, Any] = json.loads(store.fetch(f"{key}/{MANIFEST}").read_bytes())
    return manifest


def fetch_checked(store: ArtifactStore, key: str, name: str) -> Path:
    """Return a file's path after checking its sha256.

    Damaged if it differs from the manifest's, or if the manifest does not list the file.
    """
    expected = read_manifest(store, key)["files"].get(name)
    if expected is None:
        raise Damaged(f"{key} has no {name}.")
    path = store.fetch(f"{key}/{name}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected["sha256"]:
        raise Damaged(f"{key}/{name} has sha256 {digest}, and its manifest says {expected['sha256']}.")
    return path


def from_tensors(tensors: Tensors) -> bytes:
    # not ascontiguousarray, which makes a vector of a single number
    return to_safetensors({name: np.asarray(array, order="C") for name, array in tensors.items()})


def to_tensors(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Parse the bytes of ``from_tensors``."""
    return from_safetensors(data)


def read_tensors(store: ArtifactStore, key: str, name: str) -> dict[str, npt.NDArray[Any]]:
    """Read the tensors of a file after checking its sha256."""
    return load_file(fetch_checked(store, key, name))


def has_tensor(path: Path, name: str) -> bool:
    """Check whether a file of tensors has one of that name."""
    with safe_open(path, framework="numpy") as file:
        return name in file.keys()  # noqa: SIM118 - it is no mapping


def read_blocks(path: Path, name: str, rows: int) -> Iterator[npt.NDArray[Any]]:
    """Yield a tensor of a checked file, so many rows at a time.

    The file is mapped: no more of it than a block is in memory.
    """
    with safe_open(path, framework="numpy") as file:
        tensor = file.get_slice(name)
        length = tensor.get_shape()[0]
        for start in range(0, length, rows):
            yield tensor[start : min(start + rows, length)]


def to_json(value: object) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False).encode()
