"""Folders of files that are complete or do not exist: the manifest is written last.

Checkpoints and models are both such folders, made of safetensors and JSON. Never pickle: a file from elsewhere cannot
run code.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as from_safetensors
from safetensors.numpy import load_file
from safetensors.numpy import save as to_safetensors

from core.artifacts.store import ArtifactStore
from core.errors import Damaged

Tensors = Mapping[str, npt.NDArray[Any]]
Listing = dict[str, dict[str, Any]]  # file name -> size_bytes, sha256
MANIFEST = "manifest.json"


def write_folder(store: ArtifactStore, key: str, files: Mapping[str, bytes], about: Mapping[str, Any]) -> Listing:
    """Write ``files`` under ``key``, then the manifest that names each with size and sha256. Returns that listing.

    What fails half-way leaves nothing: on a full disk no row would ever tell of those bytes.
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
    """The manifest. NotFound: the folder was never finished, so it does not exist."""
    manifest: dict[str, Any] = json.loads(store.fetch(f"{key}/{MANIFEST}").read_bytes())
    return manifest


def fetch_checked(store: ArtifactStore, key: str, name: str) -> Path:
    """The path of a file whose size and sha256 are what the manifest says; Damaged otherwise."""
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
    """What ``from_tensors`` made bytes of."""
    return from_safetensors(data)


def read_tensors(store: ArtifactStore, key: str, name: str) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a checked file."""
    return load_file(fetch_checked(store, key, name))


def to_json(value: object) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False).encode()
