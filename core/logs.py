"""Logging of service and worker, as text or as JSON lines."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from core.printable import printable

TEXT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
REPEAT_S, MAX_REMEMBERED = 60.0, 1_000
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)  # of the current request


def set_up(log_format: Literal["text", "json"]) -> None:
    """Configure logging to stderr for the whole process."""
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if log_format == "json" else Text(TEXT))
    handler.addFilter(OncePerMinute())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def fields(**known: Any) -> dict[str, dict[str, Any]]:
    """Build the ``extra`` of a logging call from the line's fields."""
    return {"fields": known}


def write(logger: logging.Logger, level: int, message: str, fields: Mapping[str, Any]) -> None:
    """Write a line with fields, faster than ``logger.log`` does.

    ``message`` formats the fields' values in their order. The calling code's file and line are not looked up, which
    takes as long as to write the line. The caller checks the level.
    """
    record = logging.LogRecord(logger.name, level, "", 0, message, tuple(fields.values()), None)
    record.fields = fields
    logger.handle(record)


class OncePerMinute(logging.Filter):
    """Let the same exception at the same place through once a minute.

    While a database is away, everything that is tried again fails several times a second: 250,000 lines in one outage.
    The next line that passes says how many were left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed: dict[tuple[str, int, str], tuple[float, int]] = {}  # when, and how many not since

    def filter(self, record: logging.LogRecord) -> bool:
        if not (record.exc_info and record.exc_info[1]):
            return True
        what = (record.name, record.lineno, repr(record.exc_info[1]))
        at, left_out = self._passed.get(what, (-math.inf, 0))
        if self._clock() - at < REPEAT_S:
            self._passed[what] = at, left_out + 1
            return False
        if len(self._passed) >= MAX_REMEMBERED:
            self._passed.clear()
        self._passed[what] = self._clock(), 0
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} times more since the last such line)", None
        return True


class Text(logging.Formatter):
    """Format a log line for people.

    Within a request, its id stands at the end, before a traceback. Control characters are escaped: a path or a file's
    name of a stranger makes no line of its own.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        request_id = REQUEST_ID.get()
        line = printable(super().formatMessage(record))
        return line if request_id is None else f"{line} [{request_id}]"

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's own name
        return printable(super().formatException(ei), kept="\n")


class Json(logging.Formatter):
    """Format a line as a JSON object.

    Keys: ``time`` (UTC), ``level``, ``logger``, ``process``, ``message``; within a request ``request_id``; the line's
    own fields; ``exception``, with its traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        own: Mapping[str, Any] = getattr(record, "fields", {})
        request_id = REQUEST_ID.get()
        entry |= own if request_id is None else {"request_id": request_id, **own}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)
