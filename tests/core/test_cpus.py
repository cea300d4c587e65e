"""core.cpus: a container's share, and not all that the machine has."""

import os
from pathlib import Path

import pytest

from core.cpus import cpus


@pytest.mark.parametrize(
    ("share", "count"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", 8),
        (None, 8),
    ],
)
def test_no_more_cpus_are_used_than_a_container_may(
    monkeypatch: pytest.MonkeyPatch, share: str | None, count: int
) -> None:
    def read(path: Path) -> str:
        if share is None:
            raise FileNotFoundError(path)
        assert path == Path("/sys/fs/cgroup/cpu.max")
        return share + "\n"

    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)))
    monkeypatch.setattr(Path, "read_text", read)
    assert cpus() == count
