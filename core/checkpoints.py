"""A folder of files that is whole or does not exist: safetensors and JSON, and a manifest written last.

Checkpoints and models are both such folders. Never pickle: a file from elsewhere cannot run code.
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
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from core.errors import Damaged, NotFound
from core.store import ArtifactStore
from core.tables import Checkpoint, Job

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
    expected = read_manifest(store, key)["files"][name]
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


def newest_whole(
    session: Session, store: ArtifactStore, job_id: str, after_an_epoch: bool = False
) -> Checkpoint | None:
    """The newest checkpoint to go on from whose files are all there and undamaged."""
    rows = (row for row in of_run(session, job_id) if row.metrics or not after_an_epoch)
    return next((row for row in rows if is_whole(store, row)), None)


def is_whole(store: ArtifactStore, row: Checkpoint) -> bool:
    try:
        for name in read_manifest(store, row.key)["files"]:
            fetch_checked(store, row.key, name)
    except (NotFound, Damaged):
        return False
    return True


def has_row(session: Session, key: str) -> bool:
    """Whether any checkpoint lies there."""
    return bool(session.scalar(select(exists().where(Checkpoint.key == key))))


def newest_at(session: Session) -> float | None:
    """When the newest of all was written; None: there is none."""
    return session.scalar(select(func.max(Checkpoint.created_at)))


def of_run(session: Session, job_id: str) -> list[Checkpoint]:
    """A job's checkpoints, newest first, and behind them those of the job that it retries, and so on."""
    found: list[Checkpoint] = []
    while job_id:
        found += of_job(session, job_id)
        job = session.get(Job, job_id)
        job_id = (job and job.retry_of) or ""
    return found


def of_job(session: Session, job_id: str) -> list[Checkpoint]:
    """A job's checkpoints, newest first: a later attempt's come after all that an earlier one left."""
    newest_first = (Checkpoint.attempt.desc(), Checkpoint.epoch.desc(), Checkpoint.step.desc())
    return list(session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(*newest_first)))


def to_json(value: object) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False).encode()
