"""Load tests: a server as a process, and wrk as its clients."""

import contextlib
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

START_S = 120
UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Load:
    per_s: float  # answers with status 200
    p50_ms: float
    p99_ms: float
    failed: int  # other answers, and none

    @classmethod
    def median(cls, runs: Sequence["Load"]) -> "Load":
        """Return the median of each figure, and the sum of failures."""
        middle = (statistics.median(getattr(run, part) for run in runs) for part in ("per_s", "p50_ms", "p99_ms"))
        return cls(*middle, sum(run.failed for run in runs))

    def __str__(self) -> str:
        failed = f" {self.failed} failed" if self.failed else ""
        return f"{self.per_s:,.0f} ({self.p50_ms:.1f}, {self.p99_ms:.1f}){failed}"


@dataclass
class Server:
    name: str
    command: list[str]
    environment: Mapping[str, str]
    port_name: str = "BENCH_PORT"  # the environment variable that names the port
    health: str = "/openapi.json"
    body: str = "raw"
    port_option: str | None = None  # where the port is an option of the command
    port: int = field(default=0, init=False)
    pid: int = field(default=0, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self, wait: bool = True) -> Iterator[None]:
        self.port = _free_port()
        command = [*self.command, *([self.port_option, str(self.port)] if self.port_option else [])]
        environment = os.environ | self.environment | {self.port_name: str(self.port)}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.pid = process.pid
        try:
            if wait:
                self._wait()
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # LitServe leaves children, which would slow who comes next
            process.wait()

    def _wait(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.url}{self.health}").status_code < 500:
                    return
            except httpx.TransportError:
                time.sleep(0.2)
        raise SystemExit(f"{self.name} did not start.")


def leave_on_sigterm() -> None:
    """Turn SIGTERM into an exception, so that no server is left running."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def load(server: Server, post: Path, concurrency: int, seconds: float) -> Load:
    """Load a server from ``concurrency`` connections without pauses.

    A second of warm-up comes first.
    """
    for duration in (1, round(seconds)):
        command = [
            "wrk",
            "-t1",
            f"-c{concurrency}",
            f"-d{duration}s",
            "--timeout",
            "30s",
            "--latency",
            "-s",
            post,
            f"{server.url}/predict",
        ]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return _parse(out, seconds)


def script(body: Path, content_type: str, pause_ms: float = 0) -> str:
    """Write a wrk script that POSTs a file.

    ``pause_ms`` lies between a response and the next request.
    """
    paced = f"function delay() return {round(pause_ms)} end\n" if pause_ms else ""
    return (
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{content_type}"\n'
        f'local file = io.open("{body}", "rb")\nwrk.body = file:read("*a")\nfile:close()\n{paced}'
    )


def _parse(out: str, seconds: float) -> Load:
    requests = re.search(r"(\d+) requests in", out)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    failed = (int(bad[1]) if bad else 0) + (sum(map(int, sockets.groups())) if sockets else 0)
    answered = int(requests[1]) if requests else 0
    return Load((answered - (int(bad[1]) if bad else 0)) / seconds, _percentile(out, 50), _percentile(out, 99), failed)


def _percentile(out: str, share: int) -> float:
    found = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", out)
    return float(found[1]) * UNITS_MS[found[2]] if found else float("nan")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
