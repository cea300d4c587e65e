"""End a trainer when its worker dies: an orphan would hold the device that the next attempt needs."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
WORKER_PID = "TUNESERVE_WORKER_PID"  # set by the worker for its trainers


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies. Linux alone; elsewhere the lost claim ends it."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    worker = os.environ.get(WORKER_PID)
    if worker is not None and os.getppid() != int(worker):  # it died before the line above
        sys.exit("the worker is gone")
