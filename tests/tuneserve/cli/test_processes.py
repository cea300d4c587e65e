"""tuneserve.cli.processes: service and worker run and stop together.

Small scripts stand in for both.
"""

import contextlib
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import Settings
from tests import ROOT
from tests.test_packaging import installed_by
from tuneserve.cli import main, processes
from tuneserve.cli.processes import ServiceAndWorker, StartFailed, environment, url_of

SERVICE = """
import http.server, os, signal, sys
from pathlib import Path

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()

signal.signal(signal.SIGTERM, lambda *_: (Path("service.stopped").touch(), os._exit(0)))
http.server.HTTPServer(("127.0.0.1", int(os.environ["TUNESERVE_PORT"])), Handler).serve_forever()
"""
ENDS = "import sys; sys.exit(7)"
WAITS = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: (Path("worker.stopped").touch(), sys.exit(0)))
Path("worker.ready").touch()
while True:
    time.sleep(60)
"""
DIES_TWICE_THEN_STOPS_ITS_PARENT = """
import os, signal, sys, time
from pathlib import Path
runs = len(list(Path(".").glob("run.*")))
Path(f"run.{runs}").touch()
if runs < 2:
    sys.exit(3)
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""
DEAF = """
import signal, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
Path("worker.ready").touch()
while True:
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put our scripts where ``python -m service`` finds them.

    It looks in the working directory first.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setattr(processes, "RESTART_AFTER_S", 0.01)
    monkeypatch.setattr(processes, "WATCH_S", 0.01)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "find_spec", lambda _library: None)


@contextlib.contextmanager
def together(service: str, worker: str) -> Iterator[ServiceAndWorker]:
    Path("service.py").write_text(service)
    Path("worker.py").write_text(worker)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    output = Path("output")
    with (
        output.open("wb") as file,
        ServiceAndWorker({"TUNESERVE_PORT": str(port)}, f"http://127.0.0.1:{port}", file) as both,
    ):
        yield both


def wait_for(name: str) -> None:
    for _ in range(3000):
        if Path(name).exists():
            return
        signal.sigtimedwait([], 0.01)
    raise AssertionError(f"{name} never came")


def test_both_are_started_and_both_are_stopped() -> None:
    with together(SERVICE, WAITS) as both:
        both.wait_until_alive()
        wait_for("worker.ready")
    assert Path("service.stopped").exists()
    assert Path("worker.stopped").exists()


def test_a_service_that_ends_at_once_is_told() -> None:
    with together(ENDS, WAITS) as both, pytest.raises(StartFailed, match="exit code 7") as failure:
        both.wait_until_alive()
    assert both.url in str(failure.value)


def test_a_service_that_does_not_answer_is_told() -> None:
    with together(WAITS, WAITS) as both, pytest.raises(StartFailed, match="did not answer"):
        both.wait_until_alive(timeout_s=0.3)


def test_what_dies_is_started_again_until_told_to_stop(capfd: pytest.CaptureFixture[str]) -> None:
    with together(SERVICE, DIES_TWICE_THEN_STOPS_ITS_PARENT) as both:
        both.wait_until_alive()
        both.watch()
    assert sorted(path.name for path in Path().glob("run.*")) == ["run.0", "run.1", "run.2"]
    assert capfd.readouterr().err.count("worker ended with exit code 3") == 2


def test_what_does_not_stop_in_time_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_GRACE_S", 0.2)
    with together(SERVICE, DEAF) as both:
        both.wait_until_alive()
        wait_for("worker.ready")
        children = dict(both._children)
    assert children["worker"].returncode == -signal.SIGKILL
    assert children["service"].returncode == 0


def test_both_are_stopped_when_a_sigterm_comes_before_anyone_watches() -> None:
    def told_to_end() -> None:
        with together(SERVICE, WAITS) as both:
            both.wait_until_alive()
            wait_for("worker.ready")
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as end:
        told_to_end()
    assert end.value.code == 143
    assert Path("service.stopped").exists()
    assert Path("worker.stopped").exists()


def test_both_are_stopped_when_the_block_fails() -> None:
    def fail() -> None:
        with together(SERVICE, WAITS) as both:
            both.wait_until_alive()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert Path("service.stopped").exists()


def test_options_become_settings_and_what_is_not_given_does_not() -> None:
    assert environment(None, None, None) == {}
    assert environment("::", 0, Path("d")) == {
        "TUNESERVE_HOST": "::",
        "TUNESERVE_PORT": "0",
        "TUNESERVE_DATA_DIR": "d",
    }


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        (None, None, "http://127.0.0.1:8000"),
        ("0.0.0.0", 9000, "http://127.0.0.1:9000"),
        ("::", None, "http://[::1]:8000"),
        ("::1", 1, "http://[::1]:1"),
        ("gpu-box", 80, "http://gpu-box:80"),
    ],
)
def test_the_url_is_one_that_can_be_reached_from_here(host: str | None, port: int | None, url: str) -> None:
    assert url_of(host, port) == url


def test_the_environment_decides_where_no_option_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESERVE_HOST", "there")
    monkeypatch.setenv("TUNESERVE_PORT", "1234")
    assert url_of(None, None) == "http://there:1234"
    assert url_of("here", 5) == "http://here:5"


def test_a_worker_has_time_to_stop_its_trainer_and_say_goodbye() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    (period,) = re.findall(r"stop_grace_period: (\d+)s", compose)
    needed = Settings().stop_grace_s + 5
    assert needed < processes.STOP_GRACE_S
    assert int(period) > needed


@pytest.mark.usefixtures("without_extras")
@pytest.mark.parametrize(
    ("command", "extras"),
    [("serve", "serve"), ("worker", "train"), ("up", "serve,train"), ("demo", "serve,train"), ("doctor", "train")],
)
def test_a_command_whose_extra_is_missing_says_how_to_install_it(
    command: str, extras: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tuneserve", command])
    monkeypatch.delattr("os.execve")  # or a command that starts would replace this process
    with pytest.raises(SystemExit) as end:
        main.main()
    (said,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 1
    assert said.endswith(f": pip install 'tuneserve[{extras}]'")


@pytest.mark.parametrize(("extra", "library"), processes.EXTRAS.values())
def test_the_library_that_stands_for_an_extra_comes_with_it(extra: str, library: str) -> None:
    assert library in installed_by({extra})
    assert library not in installed_by(set())
