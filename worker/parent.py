"""A trainer must not outlive its worker: an orphan would hold the device that the next attempt needs."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies. Linux alone; elsewhere the lost claim ends it."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1 and os.environ.get("TUNESERVE_WORKER_PID") != "1":  # it died before the line above
        sys.exit("the worker is gone")
