"""End a trainer when its worker dies.

An orphan would hold the device that the next attempt needs.
"""

import os

from core.parent_death import die_with

WORKER_PID = "TUNESERVE_WORKER_PID"  # set by the worker for its trainers


def die_with_parent() -> None:
    """Have the kernel kill this process when its worker dies.

    Linux only; elsewhere the lost claim ends the process.
    """
    worker = os.environ.get(WORKER_PID)
    die_with(None if worker is None else int(worker))
