"""The number of processors available to this process."""

import os
import sys
from pathlib import Path


def cpus() -> int:
    """Return the number of processors that this process may use.

    A container's quota (cgroup v2) counts.
    """
    available = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return available
    return available if quota == "max" else max(1, min(available, int(quota) // int(period)))
