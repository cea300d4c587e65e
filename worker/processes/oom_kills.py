"""Count the processes killed by the kernel's OOM killer.

The count comes from the control group (version 2).
"""

from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OURS = Path("/proc/self/cgroup")


def oom_kills(groups: Path = GROUPS, ours: Path = OURS) -> int | None:
    """Count the OOM kills in our control group.

    Child processes are included. None if there is no counter.
    """
    for events in (groups / _group(ours) / "memory.events", groups / "memory.events"):  # the latter: in a container
        try:
            counts = dict(line.split() for line in events.read_text().splitlines())
            return int(counts["oom_kill"])
        except (OSError, KeyError, ValueError):
            continue
    return None


def _group(ours: Path) -> str:
    """Return the group's path below the mount, from a line like ``0::/system.slice/worker.service``."""
    try:
        lines = ours.read_text().splitlines()
    except OSError:
        return ""
    return next((line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")), "")
