"""Whether the kernel killed something for want of memory, where a control group (version 2) counts it."""

from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OURS = Path("/proc/self/cgroup")


def kills(groups: Path = GROUPS, ours: Path = OURS) -> int | None:
    """How many processes of our group, to which those that we start belong, the kernel has killed so; None where
    nobody counts them.
    """
    for events in (groups / _group(ours) / "memory.events", groups / "memory.events"):  # the latter: in a container
        try:
            counts = dict(line.split() for line in events.read_text().splitlines())
            return int(counts["oom_kill"])
        except (OSError, KeyError, ValueError):
            continue
    return None


def _group(ours: Path) -> str:
    """Its path below the mount: the line ``0::/system.slice/worker.service`` says it."""
    try:
        lines = ours.read_text().splitlines()
    except OSError:
        return ""
    return next((line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")), "")
