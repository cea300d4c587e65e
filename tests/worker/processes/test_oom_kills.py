"""worker.processes.oom_kills: the kernel's counts of processes killed for memory."""

from pathlib import Path

import pytest

from worker.processes.oom_kills import oom_kills

EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    (tmp_path / "group").write_text("4:memory:/other\n0::/system.slice/worker.service\n")
    (tmp_path / "system.slice" / "worker.service").mkdir(parents=True)
    return tmp_path


def kills(groups: Path) -> int | None:
    return oom_kills(groups, groups / "group")


def test_the_kernels_kills_are_those_of_our_own_group(groups: Path) -> None:
    (groups / "system.slice" / "worker.service" / "memory.events").write_text(EVENTS)
    (groups / "memory.events").write_text(EVENTS.replace("oom_kill 2", "oom_kill 9"))
    assert kills(groups) == 2


def test_in_a_container_our_group_is_the_mount(groups: Path) -> None:
    (groups / "memory.events").write_text(EVENTS)
    assert kills(groups) == 2
    (groups / "group").unlink()
    assert kills(groups) == 2


@pytest.mark.parametrize("text", [None, "", "oom 3\n", "oom_kill many\n", "one two three\n"])
def test_where_nobody_counts_them_nothing_is_known(groups: Path, text: str | None) -> None:
    if text is not None:
        (groups / "memory.events").write_text(text)
    assert kills(groups) is None
