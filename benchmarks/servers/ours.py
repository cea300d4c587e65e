"""Run the service on a copied data directory and measure its memory."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.servers.load import Server


def service(data_dir: Path, **settings: str | int) -> Server:
    """Describe the service as a server.

    ``settings`` are named without their prefix TUNESERVE_.
    """
    given = {f"TUNESERVE_{name}": str(value) for name, value in settings.items()}
    environment = {"TUNESERVE_DATA_DIR": str(data_dir)} | given
    return Server("tuneserve", [sys.executable, "-m", "service"], environment, "TUNESERVE_PORT", "/livez")


@contextmanager
def copied(data_dir: Path) -> Iterator[Path]:
    """Make a temporary copy of a data directory."""
    with TemporaryDirectory() as scratch:
        yield shutil.copytree(data_dir, Path(scratch) / "data", ignore=shutil.ignore_patterns("checkpoints", "logs"))


def newest_model(data_dir: Path) -> Path:
    return max((data_dir / "models").iterdir(), key=lambda folder: folder.stat().st_mtime)


def resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
