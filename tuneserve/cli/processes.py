"""Service and worker as child processes: started, watched, restarted when they die, stopped in order."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO, Self

import httpx

RESTART_AFTER_S = 1.0
WATCH_S = 0.5
CHECK = "from core.settings import read_or_exit; read_or_exit()"
EXTRAS = {  # what a program is installed by, and a library that shows whether it is
    "service": ("serve", "fastapi"),
    "worker": ("train", "torch"),
    "worker.doctor": ("train", "sqlalchemy"),
}
STOP_GRACE_S = 30.0  # the worker gives its trainer 20 s of these (TUNESERVE_STOP_GRACE_S)


class StartFailed(Exception):
    """The service did not come up; the message says why."""


class Together:
    """Service and worker on this machine. A dead one is started again; leaving the block stops both."""

    def __init__(self, environment: Mapping[str, str], url: str, output: IO[bytes] | None = None) -> None:
        self.url = url
        self._environment = os.environ | dict(environment)
        self._output = output  # None: the terminal
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._signals: SimpleQueue[int] = SimpleQueue()  # an event's set() may not be called by a signal's handler

    def __enter__(self) -> Self:
        require("service", "worker")
        # before watch() too, a SIGTERM must leave this block like an exception does, or the children would live on
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        self._check_settings()
        for module in ("service", "worker"):
            self._start(module)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_until_alive(self, timeout_s: float = 60) -> None:
        """Until the service answers."""
        until = time.monotonic() + timeout_s
        with httpx.Client(base_url=self.url, timeout=2) as http:  # one: to make it takes as long as many calls
            while time.monotonic() < until:
                code = self._children["service"].poll()
                if code is not None:
                    raise StartFailed(f"The service ended at once with exit code {code}. Is {self.url} in use already?")
                try:
                    if http.get("/livez").is_success:
                        return
                except httpx.TransportError:
                    time.sleep(0.1)
        raise StartFailed(f"The service did not answer at {self.url} within {timeout_s:.0f} s.")

    def watch(self) -> None:
        """Until told to stop by SIGTERM or SIGINT; restart what dies."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._signals.put(number))
        while not self._told_within(WATCH_S):
            for module, child in list(self._children.items()):
                if child.poll() is not None:
                    print(f"{module} ended with exit code {child.returncode}; starting it again", file=sys.stderr)
                    if self._told_within(RESTART_AFTER_S):
                        return
                    self._start(module)

    def stop(self) -> None:
        """SIGTERM to both, then SIGKILL to what has not ended in time."""
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        until = time.monotonic() + STOP_GRACE_S
        for child in self._children.values():
            try:
                child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _told_within(self, seconds: float) -> bool:
        try:
            self._signals.get(timeout=seconds)
        except Empty:
            return False
        return True

    def _check_settings(self) -> None:
        """Once and here: both programs would say the same, and into a log where there is one."""
        checked = subprocess.run(
            [sys.executable, "-c", CHECK], env=self._environment, stderr=subprocess.PIPE, text=True, check=False
        )
        if checked.returncode:
            raise StartFailed(checked.stderr.strip())

    def _start(self, module: str) -> None:
        self._children[module] = subprocess.Popen(
            [sys.executable, "-m", module],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,  # a Ctrl-C at the terminal is ours to pass on, once
        )


def require(*modules: str) -> None:
    """Raise StartFailed if the libraries of a program are not installed."""
    missing = dict.fromkeys(extra for extra, library in map(EXTRAS.__getitem__, modules) if find_spec(library) is None)
    if missing:
        raise StartFailed(f"This command needs what the client does not: pip install 'tuneserve[{','.join(missing)}]'")


def environment(
    host: str | None, port: int | None, data_dir: Path | None, processes: int | None = None
) -> dict[str, str]:
    """The options of the command line as the settings of the programs; what is not given stays as it is."""
    given = {
        "TUNESERVE_HOST": host,
        "TUNESERVE_PORT": port,
        "TUNESERVE_DATA_DIR": data_dir,
        "TUNESERVE_PROCESSES": processes,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def url_of(host: str | None, port: int | None) -> str:
    """Where a service with these options is reached from this machine."""
    where = host or os.environ.get("TUNESERVE_HOST") or "127.0.0.1"
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(where, where)
    reached = f"[{reached}]" if ":" in reached else reached
    return f"http://{reached}:{port or os.environ.get('TUNESERVE_PORT') or 8000}"
