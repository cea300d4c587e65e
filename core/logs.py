"""What service and worker write of themselves: lines for people, or one JSON object a line for a log collector."""

import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

TEXT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)  # of the request that is answered here


def set_up(log_format: Literal["text", "json"]) -> None:
    """For the whole process, on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if log_format == "json" else Text(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def fields(**known: Any) -> dict[str, dict[str, Any]]:
    """What a line is about, as ``extra`` of a logging call."""
    return {"fields": known}


def tell(logger: logging.Logger, level: int, message: str, told: Mapping[str, Any]) -> None:
    """A line about those fields, whose values ``message`` names in their order. It does not look from where in the code
    it is called, which takes as long as to write the line; the level is looked at by who calls.
    """
    record = logging.LogRecord(logger.name, level, "", 0, message, tuple(told.values()), None)
    record.fields = told
    logger.handle(record)


class Text(logging.Formatter):
    """A line for people; within a request its id at the end, before a traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        request_id = REQUEST_ID.get()
        line = super().formatMessage(record)
        return line if request_id is None else f"{line} [{request_id}]"


class Json(logging.Formatter):
    """``time`` (UTC), ``level``, ``logger``, ``process``, ``message``; ``request_id`` within a request; the line's own
    fields; ``exception``, with its traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        own: Mapping[str, Any] = getattr(record, "fields", {})
        request_id = REQUEST_ID.get()
        told |= own if request_id is None else {"request_id": request_id, **own}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)
