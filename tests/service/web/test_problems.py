"""service.web.problems: every error is an `application/problem+json` and leaks nothing."""

import logging
import re
from typing import Annotated, Literal

import httpx
import pytest
from fastapi import FastAPI, Query
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoneFree
from starlette.exceptions import HTTPException

import core.db.database
from core import errors
from core.db.database import Database
from core.errors import Damaged, InvalidInput, NotReady, Overloaded, TuneserveError
from core.settings import Settings
from service.middleware.request_id import RequestId
from service.web import problems
from tests.conftest import DIGIT_FILES, running

LOCKED = OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))
AWAY = InterfaceError("SELECT 1", {}, Exception("connection refused"))
FULL = OperationalError("INSERT", {}, Exception("database or disk is full"))
FULL_POSTGRES = OperationalError("INSERT", {}, Exception("could not extend file: No space left on device"))


class Inner(BaseModel):
    size: int | Literal["auto"] = 1


class Body(BaseModel, extra="forbid"):
    count: int = 1
    inner: list[Inner] = []
    pairs: dict[str, int] = {}


def raiser(error: Exception) -> httpx.AsyncClient:
    """Make an application whose one route raises that error."""
    app = FastAPI()
    problems.install(app)
    app.add_middleware(RequestId)

    @app.get("/fails")
    def fails() -> None:
        raise error

    @app.post("/body")
    def body(body: Body, limit: Annotated[int, Query(ge=1)] = 1) -> None:
        pass

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def answer_to(error: Exception) -> httpx.Response:
    async with raiser(error) as http:
        return await http.get("/fails", headers={"X-Request-Id": "mine"})


async def refused(**request: object) -> list[dict[str, str]]:
    async with raiser(ValueError()) as http:
        answer = await http.post("/body", **request)  # type: ignore[arg-type]
    assert answer.status_code == 422
    found: list[dict[str, str]] = answer.json()["errors"]
    return found


OURS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TuneserveError) and kind is not TuneserveError
]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
async def test_each_of_our_errors_has_a_status_and_a_code(kind: type[TuneserveError]) -> None:
    answer = await answer_to(kind("told"))
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["detail"] == "told"
    assert body["status"] == answer.status_code
    assert body["title"]
    users = issubclass(
        kind,
        InvalidInput
        | errors.Unauthorized
        | errors.Forbidden
        | errors.CrossSite
        | errors.HostNotAllowed
        | errors.NotFound
        | errors.Conflict
        | errors.ClientClosedRequest
        | Overloaded,
    )
    assert (400 <= answer.status_code < 500) == users


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.NotAnImage(), 422, "not_an_image"),
        (errors.TooLarge(), 413, "too_large"),
        (errors.UnsupportedType(), 415, "unsupported_type"),
        (errors.NotFound(), 404, "not_found"),
        (errors.Conflict(), 409, "conflict"),
        (errors.Overloaded(), 429, "overloaded"),
        (errors.NotReady(), 503, "not_ready"),
        (HTTPException(405, "no"), 405, "method_not_allowed"),
    ],
    ids=lambda value: str(value) if isinstance(value, int | str) else type(value).__name__,
)
async def test_the_codes_are_stable(error: Exception, status: int, code: str) -> None:
    answer = await answer_to(error)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_problem_says_where_and_in_which_request() -> None:
    body = (await answer_to(errors.NotFound("There is no x."))).json()
    assert body == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is no x.",
        "instance": "/fails",
        "code": "not_found",
        "request_id": "mine",
    }


@pytest.mark.parametrize(("error", "wait"), [(Overloaded(retry_after_s=60), "60"), (NotReady(), "5")])
async def test_who_should_come_again_is_told_when(error: Exception, wait: str) -> None:
    assert (await answer_to(error)).headers["retry-after"] == wait


async def test_our_refusal_of_a_field_points_to_it() -> None:
    body = (await answer_to(InvalidInput("no such model", pointer="/weights"))).json()
    assert body["errors"] == [{"pointer": "/weights", "detail": "no such model"}]


async def test_an_unexpected_error_tells_nothing_of_itself() -> None:
    answer = await answer_to(ZeroDivisionError("the secret"))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert (answer.headers["x-request-id"], answer.json()["request_id"]) == ("mine", "mine")


async def test_damage_of_ours_is_logged_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await answer_to(Damaged("models/a/model.onnx"))
    assert answer.status_code == 500
    assert any(record.exc_info and record.levelname == "ERROR" for record in caplog.records)


async def test_what_is_raised_while_a_body_is_read_keeps_its_own_status() -> None:
    wrapped = HTTPException(400, "There was an error parsing the body")
    wrapped.__cause__ = errors.TooLarge("too much")
    answer = await answer_to(wrapped)
    assert (answer.status_code, answer.json()["detail"]) == (413, "too much")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"count": "many"}, ["/count"]),
        ({"inner": [{}, {"size": 1.5}]}, ["/inner/1/size"]),
        ({"pairs": {"a/b~c": "x"}}, ["/pairs/a~1b~0c"]),
        ({"int": 1}, ["/int"]),
        ({"count": "x", "more": 1}, ["/count", "/more"]),
        ([], [""]),
    ],
    ids=str,
)
async def test_every_wrong_field_is_pointed_to(body: object, pointers: list[str]) -> None:
    assert [error["pointer"] for error in await refused(json=body)] == pointers


async def test_a_wrong_parameter_is_named() -> None:
    (error,) = await refused(json={}, params={"limit": 0})
    assert error["pointer"] == "query/limit"
    assert "greater than or equal to 1" in error["detail"]


async def test_a_field_that_does_not_exist_is_called_so() -> None:
    (error,) = await refused(json={"size": 1})
    assert error == {"pointer": "/size", "detail": "there is no such field"}


async def test_what_is_not_json_is_called_so_and_where() -> None:
    (error,) = await refused(content=b'{"count": ', headers={"Content-Type": "application/json"})
    assert error["pointer"] == ""
    assert "not JSON" in error["detail"]
    assert "character 10" in error["detail"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LOCKED, "not_ready"),
        (AWAY, "not_ready"),
        (NoneFree("QueuePool limit reached"), "not_ready"),
        (FULL, "disk_full"),
        (FULL_POSTGRES, "disk_full"),
    ],
)
async def test_a_database_that_does_not_answer_is_no_error_of_ours(error: Exception, code: str) -> None:
    answer = await answer_to(error)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, code, "5")
    assert "BEGIN" not in answer.text


async def test_a_locked_database_refuses_a_job_for_the_moment(
    settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.db.database, "BUSY_MS", 1)
    async with running(settings) as http:
        with db.write() as session:
            session.execute(text("SELECT 1"))  # the lock is held from here on
            refused = await http.post("/jobs", json={})
        taken = await http.post("/jobs", json={})
    assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
    assert int(refused.headers["retry-after"]) > 0
    assert taken.status_code == 202


# -- what people type


async def test_what_curl_does_to_files_is_told(settings: Settings) -> None:
    seven = DIGIT_FILES[7].read_bytes()
    stripped = seven.translate(None, b"\0\r\n")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with running(settings) as http:
        by_d = await http.post("/predict", content=stripped, headers=form)
        by_t = await http.put("/predict", content=seven)
        into_folder = await http.put("/predict/7.png", content=seven)
        untyped = await http.post("/predict", content=seven)
    assert (by_d.status_code, by_d.json()["code"]) == (422, "not_an_image")
    assert "curl -d takes line ends and zeros" in by_d.json()["detail"]
    assert "--data-binary @seven.png" in by_d.json()["detail"]
    assert (by_t.status_code, into_folder.status_code) == (405, 405)
    assert all("curl -T sends PUT" in answer.json()["detail"] for answer in (by_t, into_folder))
    assert (untyped.status_code, "curl -F file=@seven.png" in untyped.json()["detail"]) == (415, True)


async def test_no_error_speaks_in_regular_expressions(settings: Settings) -> None:
    async with running(settings) as http:
        answers = [
            await http.post("/jobs", json={"dataset": "My Pets!"}),
            await http.post("/jobs", json={"device": "tpu", "weights": "none", "freeze": "all", "name": "\0"}),
            await http.post("/datasets?name=My%20Pets"),
            await http.get("/datasets/%20"),
            await http.get("/models/model_x/content?format=pickle"),
            await http.put("/models/digits/aliases/A%20b", json={"version": 1}),
            await http.post("/jobs", json={}, headers={"Idempotency-Key": "a b"}),
        ]
    for answer in answers:
        assert answer.status_code == 422, answer.text
        assert not re.search(r"pattern|\^|\\\\|\[[a-zA-Z]-|\$", answer.json()["detail"]), answer.text
    assert "must be 1 to 64 lower-case letters" in answers[0].json()["detail"]
