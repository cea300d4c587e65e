"""Answer errors as `application/problem+json` (RFC 9457).

One table maps our exceptions to status and code.
"""

import http
import logging
from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from core.dataset_references import DATASET_NAME, DATASET_REFERENCE
from core.db.database import UNAVAILABLE
from core.errors import (
    ClientClosedRequest,
    Conflict,
    CrossSite,
    DeadlineExceeded,
    Forbidden,
    HostNotAllowed,
    InvalidInput,
    NoSpace,
    NotFound,
    NotReady,
    Overloaded,
    RateLimited,
    TooLarge,
    TuneserveError,
    Unauthorized,
    UnsupportedType,
    UnusableDataset,
    is_disk_full,
)
from core.printable import NO_NUL, printable
from service.web.openapi import SCHEMAS, complete
from service.web.security_headers import HEADERS

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
NO_DATABASE = "The database does not answer just now; try again in a moment."
FULL_DATABASE = "The disk of the database is full: nothing can be written until space is freed."
FORMS = {  # of texts, in words
    DATASET_NAME: "must be 1 to 64 lower-case letters, digits, - and _, and begin with a letter or a digit",
    DATASET_REFERENCE: "must be 1 to 64 lower-case letters, digits, - and _, and may end with a version, like pets/2",
    NO_NUL: "must not hold the character NUL",
}
MAX_REPORTED = 100  # wrong fields of one body
OIP = "/v2/"  # a protocol that has its own form of an error
TITLES = {499: "Client Closed Request"}  # of no RFC, but what logs have called it since nginx

# the first class that fits; the subclass stands before its base
STATUS: tuple[tuple[type[TuneserveError], int, str], ...] = (
    (TooLarge, 413, "too_large"),
    (UnsupportedType, 415, "unsupported_type"),
    (InvalidInput, 422, "invalid_input"),
    (Unauthorized, 401, "unauthorized"),
    (Forbidden, 403, "forbidden"),
    (CrossSite, 403, "cross_site"),
    (HostNotAllowed, 421, "host_not_allowed"),
    (NotFound, 404, "not_found"),
    (Conflict, 409, "conflict"),
    (RateLimited, 429, "rate_limited"),
    (Overloaded, 429, "overloaded"),
    (NoSpace, 503, "disk_full"),
    (NotReady, 503, "not_ready"),
    (DeadlineExceeded, 504, "deadline_exceeded"),
    (ClientClosedRequest, 499, "client_closed_request"),
)


OIP_ERROR = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "What is wrong, for people."}},
}
Described = dict[int | str, dict[str, Any]]  # responses of a route, as FastAPI takes them


class FieldError(BaseModel):
    pointer: str = Field(description="JSON pointer into the body, `query/<name>` or similar, or a file name.")
    detail: str = Field(description="What is wrong, for people.")
    code: str | None = Field(None, description="Stable code of the problem; only for files of a data set.")
    severity: Literal["warning", "error"] | None = Field(
        None, description="Only for files of a data set. warning: left out; error: the data set cannot be trained on."
    )


class ProblemDetails(BaseModel):
    """The body of every error. Absent fields are not null, but left out."""

    type: str = Field(description="Always `about:blank`; see `code`.")
    title: str = Field(description="Name of the HTTP status.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong and how to fix it, for people.")
    instance: str = Field(description="Path of the request.")
    code: str = Field(description="Stable code of the problem.")
    request_id: str | None = Field(
        description="Id of the request, as in the header `X-Request-Id` and the service log."
    )
    errors: list[FieldError] | None = Field(None, description="Every wrong field, or every wrong file of a data set.")


def _described(media_type: str, schema: Mapping[str, Any]) -> Described:
    """Describe a route's possible errors for the OpenAPI document."""
    content = {media_type: {"schema": schema}}
    return {
        "4XX": {"description": "The request is invalid or not possible now", "content": content},
        "5XX": {"description": "The service cannot answer", "content": content},
    }


DESCRIBED = _described(MEDIA_TYPE, {"$ref": SCHEMAS.format(model=ProblemDetails.__name__)})
DESCRIBED_OIP = _described("application/json", OIP_ERROR)


def problem(request: Request, status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    """Make a problem's body.

    ``code`` is stable, ``detail`` is for people.
    """
    return {
        "type": "about:blank",
        "title": TITLES.get(status) or http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "code": code,
        "request_id": getattr(request.state, "request_id", None),
        **more,
    }


def install(app: FastAPI) -> None:
    """Answer every error that the framework or we raise as a problem."""
    app.add_exception_handler(TuneserveError, answer_to)
    for unavailable in UNAVAILABLE:
        app.add_exception_handler(unavailable, _unavailable)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)
    complete(app, _schemas())


def _schemas() -> dict[str, Any]:
    """Return the JSON schemas of a problem and its parts.

    Every route refers to it: else it would stand there a hundred times.
    """
    schema = ProblemDetails.model_json_schema(ref_template=SCHEMAS)
    return {**schema.pop("$defs"), schema["title"]: schema}


def status_of(error: TuneserveError) -> tuple[int, str]:
    """Return status and code of one of our exceptions."""
    for kind, status, code in STATUS:
        if isinstance(error, kind):
            return status, getattr(error, "code", code)
    return 500, "internal"


def _answer(body: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    if f"{body['instance']}/".startswith(OIP):
        status = 400 if body["status"] == 422 else body["status"]  # as that protocol has it
        return JSONResponse({"error": body["detail"]}, status, headers)
    return JSONResponse(body, body["status"], headers, MEDIA_TYPE)


def answer_to(request: Request, error: Exception) -> JSONResponse:
    """Answer one of our exceptions with its problem."""
    assert isinstance(error, TuneserveError)
    status, code = status_of(error)
    if status == 500:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    headers: dict[str, str] = {}
    more: dict[str, Any] = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, NotReady):
        headers["Retry-After"] = "5"
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, InvalidInput) and error.pointer:
        more["errors"] = [{"pointer": error.pointer, "detail": str(error)}]
    if isinstance(error, UnusableDataset):
        more["errors"] = list(error.problems)
    return _answer(problem(request, status, code, str(error), **more), headers)


def _unavailable(request: Request, error: Exception) -> JSONResponse:
    """Answer 503 when the database does not answer.

    A database that is locked, full or away is no error of ours, and passes. A missing table is one.
    """
    if getattr(getattr(error, "orig", None), "sqlite_errorname", "") == "SQLITE_ERROR":
        raise error
    log.warning("%s %s: the database does not answer", request.method, request.url.path, exc_info=error)
    return answer_to(request, NoSpace(FULL_DATABASE) if is_disk_full(error) else NotReady(NO_DATABASE))


def _validation(request: Request, error: Exception) -> JSONResponse:
    """List every wrong field by its JSON pointer.

    Parameters are named ``query/<name>`` and the like.
    """
    assert isinstance(error, RequestValidationError)
    reasons: dict[str, list[str]] = {}  # a field that may be of two types gives a reason for each
    for entry in error.errors():
        reasons.setdefault(_pointer(entry), []).append(_reason(entry))
    if "" in reasons and not request.headers.get("content-type", "").startswith("application/json"):
        reasons[""] = ["send JSON, with the header Content-Type: application/json"]
    errors = [
        {"pointer": pointer, "detail": " or ".join(given)} for pointer, given in islice(reasons.items(), MAX_REPORTED)
    ]
    detail = "; ".join(f"{printable(entry['pointer']) or 'body'}: {entry['detail']}" for entry in errors)
    if len(reasons) > MAX_REPORTED:
        detail += f"; and {len(reasons) - MAX_REPORTED} more"
    return _answer(problem(request, 422, "invalid_input", detail, errors=errors))


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, TuneserveError):  # FastAPI wraps what goes wrong while it reads a body
        return answer_to(request, error.__cause__)
    status, detail, headers = error.status_code, str(error.detail), dict(error.headers or {})
    code = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}.get(status, "http_error")
    if status == 405:
        headers["Allow"] = ", ".join(_methods(request, request.url.path)) or "GET, HEAD"  # else: a file of the page
        detail = f"{request.url.path} takes {headers['Allow']}, not {request.method[:20]}."
    path = request.url.path.rstrip("/")
    if status == 404 and path != request.url.path and _methods(request, path):
        detail = f"There is no {request.url.path}; did you mean {path}?"
    if status in (404, 405) and request.method == "PUT":
        detail += " curl -T sends PUT: use -F file=@NAME, or --data-binary @NAME."
    return _answer(problem(request, status, code, detail), headers)


def _methods(request: Request, path: str) -> list[str]:
    """List every method of a path, over all of its routes."""
    scope = {**request.scope, "path": path}
    routes = [route for route in request.app.router.routes if isinstance(route, Route)]
    found = {method for route in routes if route.matches(scope)[0] is not Match.NONE for method in route.methods or ()}
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def _unexpected(request: Request, _error: Exception) -> JSONResponse:
    """Answer an unexpected error with 500 and without its traceback.

    This is the process's edge: the server logs the traceback.
    """
    body = problem(request, 500, "internal", "Something failed that should not fail; it has been logged.")
    # answered outside of all that adds headers
    return _answer(body, {**HEADERS, "Cache-Control": "no-store", "X-Request-Id": str(body["request_id"])})


def _pointer(entry: dict[str, Any]) -> str:
    """Write a wrong field's place as a JSON pointer.

    Pydantic names the tried type of a union too; those are no fields.
    """
    where, *path = entry["loc"]
    if entry["type"] == "json_invalid":
        return ""  # the path is a position in the text
    steps = [step for depth, step in enumerate(path) if depth == 0 or not _is_union_branch(step)]
    fields = [str(step).replace("~", "~0").replace("/", "~1") for step in steps]
    return "".join(f"/{field}" for field in fields) if where == "body" else f"{where}/{'/'.join(fields)}"


def _is_union_branch(step: int | str) -> bool:
    return isinstance(step, str) and (step.startswith("literal[") or step in ("int", "float", "str", "json"))


def _reason(entry: dict[str, Any]) -> str:
    if entry["type"] == "extra_forbidden":
        return "there is no such field"
    if entry["type"] == "json_invalid":
        return f"this is not JSON: {entry['ctx']['error']} (character {entry['loc'][1]})"
    if entry["type"] == "string_pattern_mismatch":
        return FORMS.get(entry["ctx"]["pattern"], "does not have the form that is wanted: see its description in /docs")
    reason = str(entry["msg"]).removeprefix("Value error, ")
    return reason[0].lower() + reason[1:]
