"""How many processors there are for us."""

import os
import sys
from pathlib import Path


def cpus() -> int:
    """How many this process may use: a container's share (cgroup v2), if it has one, not all that the machine has."""
    there = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return there
    return there if quota == "max" else max(1, min(there, int(quota) // int(period)))
