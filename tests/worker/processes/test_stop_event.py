"""worker.processes.stop_event: a flag that signal handlers may set anywhere.

It does not matter where the program is just then.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from itertools import count
from types import FrameType
from typing import Any

import pytest

from worker.processes.stop_event import Stop

BLOCKED_S = 2.0  # after which somebody who has not come to an instruction waits for good


class Interrupted(threading.Thread):
    """A thread whose wait for ``stop`` is interrupted at one instruction.

    ``stop`` is set from within that wait before its instruction of that number, as by a signal.
    """

    def __init__(self, stop: Stop, number: int) -> None:
        super().__init__(daemon=True)  # one that hangs shall not keep the tests from ending
        self.stop, self.left = stop, number
        self.came = threading.Event()
        self.heard: bool | None = None

    def run(self) -> None:
        sys.settrace(self.trace)
        self.heard = self.stop.wait()

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                self.came.set()
                self.stop.set()
        return self.trace


def test_one_who_waits_hears_of_it_at_whatever_instruction_the_signal_comes() -> None:
    for number in count(1):
        waiting = Interrupted(Stop(), number)
        waiting.start()
        came = waiting.came.wait(BLOCKED_S)
        if not came:
            waiting.stop.set()
        waiting.join(10)
        assert waiting.heard, f"set before instruction {number}"
        if not came:
            break
    assert number > 10  # it takes so many to ask the flag and the queue


@pytest.fixture
def _alarm_sets(stop: Stop) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, lambda *_: stop.set())
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.mark.usefixtures("_alarm_sets")
def test_a_signal_ends_a_wait_that_has_no_end(stop: Stop) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    assert stop.wait()


def test_everyone_who_waits_hears_of_it(stop: Stop) -> None:
    waiting = [threading.Thread(target=stop.wait, daemon=True) for _ in range(3)]
    for thread in waiting:
        thread.start()
    stop.set()
    for thread in waiting:
        thread.join(10)
    assert not any(thread.is_alive() for thread in waiting)


def test_it_stays_set(stop: Stop) -> None:
    assert not stop.wait(0)
    assert not stop.is_set()
    stop.set()
    assert (stop.wait(), stop.wait(0), stop.is_set()) == (True, True, True)
