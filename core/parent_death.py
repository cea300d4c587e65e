"""End a child process when its parent dies."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int | None) -> None:
    """Have the kernel kill this process when its parent dies.

    Linux only. ``parent``: its process id if known, so that a death before this call counts too.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:  # it died before the line above
        sys.exit("the parent process is gone")
