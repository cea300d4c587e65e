"""``python -m worker.doctor``: what this installation has, and what is wrong with it. One JSON object a line."""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError

from core import jobs
from core.db import Database
from core.settings import Settings

DRIVER = "nvidia-smi"


@dataclass(frozen=True)
class Finding:
    check: str
    state: Literal["ok", "note", "wrong"]
    detail: str


def main() -> int:
    wrong = 0
    for finding in examine(Settings()):
        print(json.dumps(asdict(finding)), flush=True)  # noqa: T201 - this is its answer
        wrong += finding.state == "wrong"
    return int(wrong > 0)


def examine(settings: Settings) -> Iterator[Finding]:
    """Each check by itself: what is wrong with one says nothing of the next."""
    for check in (_python, _torch, _device, _data_dir, _disk, _database, _weights):
        yield check(settings)


def _python(_: Settings) -> Finding:
    return Finding("python", "ok", f"{sys.version.split()[0]}, tuneserve {version('tuneserve')}")


def _torch(_: Settings) -> Finding:
    try:
        return Finding("torch", "ok", f"{version('torch')}, torchvision {version('torchvision')}")
    except PackageNotFoundError as error:
        return Finding("torch", "wrong", f"{error.name} is not installed: a worker needs tuneserve[train]")


def _device(settings: Settings) -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("device", "wrong", f"torch cannot be imported: {error}")
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Finding("device", "ok", f"CUDA {torch.version.cuda}: {names}")
    if shutil.which(DRIVER):
        return Finding("device", "wrong", f"there is an NVIDIA driver, and torch {torch.__version__} sees no GPU")
    threads = settings.train_threads or torch.get_num_threads()
    return Finding("device", "note", f"no GPU: jobs run on {threads} threads of the CPU")


def _data_dir(settings: Settings) -> Finding:
    folder = settings.data_dir.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".doctor"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return Finding("data directory", "wrong", f"{folder} cannot be written: {error.strerror}")
    return Finding("data directory", "ok", str(folder))


def _disk(settings: Settings) -> Finding:
    folder = settings.data_dir.resolve()
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.is_dir())).free
    told = f"{free / 2**30:.1f} GiB are free"
    if free < settings.min_free_bytes:
        return Finding("disk", "wrong", f"{told}; below {settings.min_free_bytes / 2**30:.1f} GiB no job is taken")
    return Finding("disk", "ok", told)


def _database(settings: Settings) -> Finding:
    try:
        with closing(Database(settings.resolved_database_url)) as db:
            db.migrate()
            with db.read() as session:
                waiting = jobs.count_by_status(session)
                workers = jobs.live_workers(session, time.time(), settings.lease_s)
    except (SQLAlchemyError, OSError) as error:
        return Finding("database", "wrong", f"it does not answer: {error}")
    counts = ", ".join(f"{count} {status}" for status, count in waiting.items() if count) or "no jobs yet"
    return Finding("database", "ok", f"{counts}; {workers} workers alive")


def _weights(settings: Settings) -> Finding:
    folder = settings.resolved_weights_dir
    files = sorted(path.name for path in folder.glob("*.pth")) if folder.is_dir() else []
    if settings.weights_file is not None and not settings.weights_file.is_file():
        return Finding("weights", "wrong", f"TUNESERVE_WEIGHTS_FILE names {settings.weights_file}, which is not there")
    if files:
        return Finding("weights", "ok", f"{len(files)} files in {folder}")
    return Finding("weights", "note", 'none on this machine: "imagenet" downloads them at first use')


if __name__ == "__main__":
    sys.exit(main())
