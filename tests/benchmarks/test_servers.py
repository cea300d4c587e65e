"""benchmarks.servers.load: what it starts ends with it."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from benchmarks.servers.load import Server, leave_on_sigterm


@pytest.fixture(autouse=True)
def _handler_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_server_ends_when_its_benchmark_is_told_to() -> None:
    server = Server("one that waits", [sys.executable, "-c", "import signal; signal.pause()"], {})
    leave_on_sigterm()

    def told_to_end() -> None:
        with server.running(wait=False):
            os.kill(server.pid, 0)  # it is there
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        told_to_end()
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
