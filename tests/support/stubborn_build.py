"""``python -m tests.support.stubborn_build``: build a data set with a misbehaving parser.

The body says how; a line for its start and its end, each with the process id, goes into ``log`` beside the body.
"""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.settings import Settings
from service.datasets import build_process
from service.datasets.extraction import Sent
from service.datasets.importer import Built

DEADLINE_S = 60.0  # after which it ends by itself, where nothing else ends it
CPU_S = 20.0  # the same for what spins: more than it is allowed, on a machine of any speed


def misbehave(sent: Sequence[Sent], _folder: Path, _settings: Settings, _group_pattern: str) -> Built:
    how, log = sent[0].file.read_text(), sent[0].file.with_name("log")
    _note(log, "start")
    until = time.monotonic() + DEADLINE_S
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "raise":
        raise AssertionError("a fault of ours")
    elif how == "print":
        os.write(1, b"a library says something")
    elif how == "memory":
        np.zeros(8 * 2**30, np.uint8)  # asked for and not touched: without a limit it is given
    while how == "spin" and time.process_time() < CPU_S:
        pass
    while how == "sleep" and time.monotonic() < until:
        time.sleep(0.01)
    _note(log, "end")
    return Built("folders", {}, "digest", [], 0)


def _note(log: Path, what: str) -> None:
    with log.open("a") as file:
        file.write(f"{what} {os.getpid()}\n")


if __name__ == "__main__":
    vars(build_process)["build"] = misbehave
    build_process.main()
