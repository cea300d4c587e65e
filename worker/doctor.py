"""``python -m worker.doctor``: check this installation, with one JSON object a line."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError

from core.dataset_references import DATASETS
from core.db.database import Database
from core.repositories import jobs, workers
from core.settings import PREFIX, Settings, WrongSettings, read

DRIVER = "nvidia-smi"
DRIVER_VERSION = (DRIVER, "--query-gpu=driver_version", "--format=csv,noheader")
OF_THE_CLIENT = {"TUNESERVE_URL", "TUNESERVE_API_KEY"}
EMBEDDED = "digits"
SIDE = 256  # of the matrices whose product is computed on a GPU


@dataclass(frozen=True)
class Finding:
    check: str
    state: Literal["ok", "note", "wrong"]
    detail: str


def main() -> int:
    wrong = 0
    for finding in examine():
        print(json.dumps(asdict(finding)), flush=True)  # noqa: T201 - this is its answer
        wrong += finding.state == "wrong"
    return int(wrong > 0)


def examine() -> Iterator[Finding]:
    """Run each check independently and yield what it finds.

    Without valid settings, only those of Python and torch.
    """
    yield _python()
    yield _torch()
    try:
        settings = read()
    except WrongSettings as error:
        yield from (Finding("settings", "wrong", reason) for reason in error.reasons)
        return
    for check in (_settings, _device, _data_dir, _disk, _database, _data_sets, _weights):
        yield check(settings)


def _python() -> Finding:
    return Finding("python", "ok", f"{sys.version.split()[0]}, tuneserve {version('tuneserve')}")


def _torch() -> Finding:
    try:
        return Finding("torch", "ok", f"{version('torch')}, torchvision {version('torchvision')}")
    except PackageNotFoundError as error:
        return Finding("torch", "wrong", f"{error.name} is not installed: a worker needs tuneserve[train]")


def _settings(_: Settings) -> Finding:
    """Check for unknown settings, which are otherwise ignored silently."""
    given = {name for name in os.environ if name.startswith(PREFIX)}
    unknown = given - {f"{PREFIX}{field.upper()}" for field in Settings.model_fields} - OF_THE_CLIENT
    if unknown:
        return Finding("settings", "note", f"nothing reads {', '.join(sorted(unknown))}")
    return Finding("settings", "ok", ", ".join(sorted(given)) or "all are the defaults")


def _device(settings: Settings) -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("device", "wrong", f"torch cannot be imported: {error}")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        found = f"CUDA {torch.version.cuda}, driver {_driver_version()}: {', '.join(names)}"
        failures = [why for index in range(len(names)) if (why := _why_it_cannot_compute(f"cuda:{index}"))]
        return Finding("device", "wrong" if failures else "ok", "; ".join([found, *failures]))
    if shutil.which(DRIVER):
        return Finding("device", "wrong", f"there is an NVIDIA driver, and torch {torch.__version__} sees no GPU")
    threads = settings.train_threads or torch.get_num_threads()
    return Finding("device", "note", f"no GPU: jobs run on {threads} threads of the CPU")


def _driver_version() -> str:
    try:
        answer = subprocess.run(DRIVER_VERSION, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.partition("\n")[0].strip() or "unknown"


def _why_it_cannot_compute(device: str) -> str | None:
    """Compute a matrix product of known result; return the problem or None."""
    import torch

    try:
        ones = torch.ones(SIDE, SIDE, device=device)
        right = bool((ones @ ones == SIDE).all())
    except RuntimeError as error:  # torch: no memory, or an architecture it was not built for
        return f"{device} cannot compute: {str(error).partition(chr(10))[0]}"
    return None if right else f"{device} computes wrongly"


def _data_dir(settings: Settings) -> Finding:
    folder = settings.data_dir.resolve()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        return Finding("data directory", "wrong", f"{folder} cannot be made: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding("data directory", "wrong", f"{there} cannot be written")
    return Finding("data directory", "ok", f"{folder}{'' if there == folder else ': the first start makes it'}")


def _disk(settings: Settings) -> Finding:
    folder = settings.data_dir.resolve()
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.is_dir())).free
    space = f"{free / 2**30:.1f} GiB are free"
    if free < settings.min_free_bytes:
        return Finding("disk", "wrong", f"{space}; below {settings.min_free_bytes / 2**30:.1f} GiB no job is taken")
    return Finding("disk", "ok", space)


def _database(settings: Settings) -> Finding:
    kind, _, file = settings.resolved_database_url.partition(":///")
    if kind.startswith("sqlite") and not Path(file).exists():
        return Finding("database", "ok", f"{file}: the first start makes it")
    try:
        with closing(Database(settings.resolved_database_url)) as db:
            if not db.is_migrated():
                return Finding("database", "ok", "it answers; the next start brings its tables up to date")
            with db.read() as session:
                waiting = jobs.count_by_status(session)
                alive = workers.count_live(session, time.time(), settings.lease_s)
    except (SQLAlchemyError, OSError) as error:
        return Finding("database", "wrong", f"it does not answer: {error}")
    counts = ", ".join(f"{count} {status}" for status, count in waiting.items() if count) or "no jobs yet"
    return Finding("database", "ok", f"{counts}; workers alive: {alive}")


def _data_sets(settings: Settings) -> Finding:
    folders = {settings.resolved_datasets_dir, settings.downloaded_datasets_dir, settings.dataset_files_dir}
    try:
        found = [path for folder in sorted(folders) if folder.exists() for path in folder.iterdir()]
        there = {path.name for path in found if _holds_files(path)}
    except OSError as error:
        return Finding("data sets", "wrong", f"{error.filename} cannot be read: {error.strerror}")
    here = [name for name in DATASETS if name == EMBEDDED or name in there]
    own = len(there - set(DATASETS))
    state: Literal["ok", "note"] = "ok" if len(here) > 1 or own else "note"
    return Finding("data sets", state, f"{', '.join(here)}; {own} of your own. Others are downloaded at first use")


def _holds_files(path: Path) -> bool:
    """Check for a non-empty folder; a leading dot marks an unfinished upload."""
    return path.is_dir() and not path.name.startswith(".") and any(path.iterdir())


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
