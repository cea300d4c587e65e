"""Service and worker as child processes: start, watch, restart and stop them."""

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
EXTRAS = {  # the extra that installs a program, and a library that shows whether it is installed
    "service": ("serve", "fastapi"),
    "worker": ("train", "torch"),
    "worker.doctor": ("train", "sqlalchemy"),
}
STOP_GRACE_S = 30.0  # must exceed the 20 s that the worker grants its trainer (TUNESERVE_STOP_GRACE_S)


class StartFailed(Exception):
    """The service did not start; the message gives the reason."""


class ServiceAndWorker:
    """Service and worker on this machine, restarted when they die.

    Leaving the block stops both.
    """

    def __init__(self, environment: Mapping[str, str], url: str, output: IO[bytes] | None = None) -> None:
        self.url = url
        self._environment = os.environ | dict(environment)
        self._output = output  # None: the terminal
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._signals: SimpleQueue[int] = SimpleQueue()  # a signal handler must not call Event.set()

    def __enter__(self) -> Self:
        require("service", "worker")
        # before watch() too, a SIGTERM must leave this block by an exception, or the children would keep running
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
        """Wait until the service responds; StartFailed if it ends or ``timeout_s`` passes."""
        until = time.monotonic() + timeout_s
        with httpx.Client(base_url=self.url, timeout=2) as http:  # created once: it costs as much as many requests
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
        """Restart processes that die, until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._signals.put(number))
        while not self._signalled_within(WATCH_S):
            for module, child in list(self._children.items()):
                if child.poll() is not None:
                    print(f"{module} ended with exit code {child.returncode}; restarting it", file=sys.stderr)
                    if self._signalled_within(RESTART_AFTER_S):
                        return
                    self._start(module)

    def stop(self) -> None:
        """Send SIGTERM to both, and SIGKILL after a grace."""
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

    def _signalled_within(self, seconds: float) -> bool:
        try:
            self._signals.get(timeout=seconds)
        except Empty:
            return False
        return True

    def _check_settings(self) -> None:
        """Validate the settings once before both programs start.

        Else both would report the same errors into a log.
        """
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
            start_new_session=True,  # Ctrl-C reaches this process only, which stops both
        )


def require(*modules: str) -> None:
    """Raise StartFailed if the libraries of a program are not installed."""
    missing = dict.fromkeys(extra for extra, library in map(EXTRAS.__getitem__, modules) if find_spec(library) is None)
    if missing:
        raise StartFailed(f"This command needs more than the client: pip install 'tuneserve[{','.join(missing)}]'")


def environment(
    host: str | None, port: int | None, data_dir: Path | None, processes: int | None = None
) -> dict[str, str]:
    """Convert command-line options to the programs' environment; omitted options are left out."""
    given = {
        "TUNESERVE_HOST": host,
        "TUNESERVE_PORT": port,
        "TUNESERVE_DATA_DIR": data_dir,
        "TUNESERVE_PROCESSES": processes,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def url_of(host: str | None, port: int | None) -> str:
    """Return the service's URL as seen from this machine.

    ``host`` and ``port`` are the service's options.
    """
    where = host or os.environ.get("TUNESERVE_HOST") or "127.0.0.1"
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(where, where)
    reached = f"[{reached}]" if ":" in reached else reached
    return f"http://{reached}:{port or os.environ.get('TUNESERVE_PORT') or 8000}"
