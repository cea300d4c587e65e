"""core.logs: what the two processes write of themselves."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from core import logs
from core.db.database import Database
from core.settings import Settings
from service.middleware.request_id import RequestId
from tests.support.fakes import FakeLauncher, FakeProcess
from worker.supervisor.loop import WorkerLoop

LONG_AGO = 1_700_000_000.25


class Lines(logging.Handler):
    """A handler that collects log lines as a collector reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logs.Json())
        self.read: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        assert "\n" not in line
        self.read.append(json.loads(line))


@pytest.fixture
def lines() -> Any:
    handler, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler.read
    root.removeHandler(handler)
    root.setLevel(before)


def record(message: str, *args: object) -> logging.LogRecord:
    made = logging.LogRecord("worker.supervisor.loop", logging.WARNING, __file__, 1, message, args, None)
    made.created = LONG_AGO
    return made


def test_a_line_says_when_who_and_what() -> None:
    told = json.loads(logs.Json().format(record("claimed %s\nor not", "job_1")))
    assert told.pop("process") == os.getpid()
    assert told == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "WARNING",
        "logger": "worker.supervisor.loop",
        "message": "claimed job_1\nor not",
    }


@pytest.mark.parametrize("odd", ["\ud800", "\u2028", "\x00", '"}'])
def test_whatever_is_said_stays_one_line_of_json(odd: str) -> None:
    line = logs.Json().format(record("%s", odd))
    assert line.encode().splitlines() == [line.encode()]
    assert json.loads(line)["message"] == odd


async def test_every_line_of_a_request_carries_its_id(lines: list[dict[str, Any]]) -> None:
    app = FastAPI()
    app.get("/in-a-thread")(lambda: logging.getLogger("inner").warning("here"))
    app.add_middleware(RequestId)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        await http.get("/in-a-thread", headers={"X-Request-Id": "mine"})
    inner, access = (next(line for line in lines if line["logger"] == name) for name in ("inner", "service.access"))
    assert (inner["request_id"], access["request_id"]) == ("mine", "mine")
    assert (access["method"], access["path"], access["status"]) == ("GET", "/in-a-thread", 200)
    assert access["took_ms"] >= 0


def test_a_failure_is_told_with_its_traceback(lines: list[dict[str, Any]]) -> None:
    try:
        raise ValueError("no such thing")
    except ValueError:
        logging.getLogger("inner").exception("it failed")
    (told,) = lines
    assert told["exception"].startswith("Traceback")
    assert told["exception"].endswith("ValueError: no such thing")


def test_what_a_worker_says_of_a_job_names_it(
    settings: Settings, db: Database, enqueue: Callable[..., Any], lines: list[dict[str, Any]]
) -> None:
    job = enqueue()
    loop = WorkerLoop(settings, db, FakeLauncher([FakeProcess(code=1)]))
    loop._register()
    loop.step()
    said = [line for line in lines if line["logger"] == "worker.supervisor.loop"]
    assert [(line["job_id"], line["attempt"]) for line in said] == [(job.id, 1)] * 2


@pytest.mark.parametrize(("kind", "begins"), [("json", "{"), ("text", "20")])
def test_the_setting_chooses(kind: str, begins: str) -> None:
    code = "import logging; from core import logs, settings as s; logs.set_up(s.Settings().log_format)"
    said = subprocess.run(
        [sys.executable, "-c", f"{code}; logging.getLogger('a').info('hello')"],
        env=os.environ | {"TUNESERVE_LOG_FORMAT": kind}, capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    assert said.startswith(begins)
    assert "hello" in said


def test_a_line_for_people_tells_the_request_before_its_traceback() -> None:
    logs.REQUEST_ID.set("mine")
    line = record("it failed")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        line.exc_info = sys.exc_info()
    head, *rest = logs.Text(logs.TEXT).format(line).splitlines()
    logs.REQUEST_ID.set(None)
    assert head.endswith("worker.supervisor.loop: it failed [mine]")
    assert rest[-1] == "ZeroDivisionError"
    assert logs.Text(logs.TEXT).format(record("idle")).endswith("worker.supervisor.loop: idle")


def test_a_stranger_s_text_moves_no_cursor_and_forges_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters are escaped in messages and tracebacks.

    They are line breaks, escapes of terminals, C1, and text that runs backwards.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logs.Text(logs.TEXT))
    hostile = "x\n2026 INFO forged\x1b[2J\x9b31m\u202egnp.exe"
    record = logging.LogRecord("web", logging.INFO, "", 0, "GET %s", (hostile,), None)
    handler.emit(record)
    try:
        raise ValueError(hostile)
    except ValueError:
        handler.emit(logging.LogRecord("web", logging.ERROR, "", 0, "failed", (), sys.exc_info()))
    written = capsys.readouterr().err
    assert written.count(r"\x1b[2J\x9b31m\u202egnp.exe") == 2
    assert all(line.isprintable() for line in written.splitlines())
    forged = [line for line in written.splitlines() if line.startswith("2026 INFO forged")]
    assert len(forged) == 1  # in the traceback alone


def failed(error: Exception) -> logging.LogRecord:
    return logging.LogRecord("worker", logging.WARNING, __file__, 1, "trying again", (), (type(error), error, None))


def test_the_same_exception_at_the_same_place_is_written_once_a_minute_and_its_repeats_are_counted() -> None:
    now = 0.0
    once = logs.OncePerMinute(lambda: now)
    passed = []
    for second in range(130):
        now = float(second)
        for error in (ConnectionError("away"), ConnectionError("refused")):
            line = failed(error)
            if once.filter(line):
                passed.append((second, line.getMessage()))
    told = "trying again (59 times more since the last such line)"
    assert passed == [(0, "trying again")] * 2 + [(60, told)] * 2 + [(120, told)] * 2


def test_lines_without_an_exception_are_all_written() -> None:
    once = logs.OncePerMinute(lambda: 0.0)
    assert all(once.filter(record("claimed %s", "job_1")) for _ in range(3))


def test_what_failed_is_not_remembered_for_ever() -> None:
    once = logs.OncePerMinute(lambda: 0.0)
    assert all(once.filter(failed(ConnectionError(str(number)))) for number in range(3 * logs.MAX_REMEMBERED))
    assert len(once._passed) <= logs.MAX_REMEMBERED


def test_a_program_writes_so(capfd: pytest.CaptureFixture[str]) -> None:
    code = """
import logging
from core import logs
logs.set_up("text")
for _ in range(100):
    try:
        raise ConnectionError("away")
    except ConnectionError:
        logging.getLogger("worker").warning("trying again", exc_info=True)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert capfd.readouterr().err.count("trying again\n") == 1
