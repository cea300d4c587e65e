"""Keys, browsers' headers, and where the service listens without keys."""

import logging
import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.routing import BaseRoute

from core.db.database import Database
from core.repositories import api_keys
from core.scopes import Scope
from core.settings import Settings
from service import server
from service.app import _middleware, create_app
from service.security.api_keys import RequireScope
from service.security.authentication import is_open
from service.web.security_headers import HEADERS
from tests import ROOT
from tests.conftest import NOW, running
from tests.support.keys import GIVEN, SECRETS, bearer, with_keys


@pytest.fixture
def keyed(settings: Settings) -> Settings:
    return with_keys(settings)


def all_routes(routes: list[BaseRoute]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif isinstance(inner := getattr(route, "original_router", None), APIRouter):
            yield from all_routes(inner.routes)


def without_a_rule(app: FastAPI) -> list[str]:
    return [
        route.path
        for route in all_routes(app.routes)
        if not is_open(route.path) and not any(isinstance(one.dependency, RequireScope) for one in route.dependencies)
    ]


# -- a request passes the middlewares in the order that is written down


@pytest.mark.parametrize("origins", [(), ("https://a.example",)], ids=["no pages", "pages"])
def test_the_middlewares_stand_in_the_order_that_their_table_says(settings: Settings, origins: tuple[str, ...]) -> None:
    built = create_app(settings.model_copy(update={"cors_origins": origins})).user_middleware
    said = re.findall(r"^    (\w+)(?=[:,] )", str(_middleware.__doc__), re.MULTILINE)
    absent = {"Tracing"} if origins else {"Tracing", "CORSMiddleware"}
    assert [layer.cls.__name__ for layer in built] == [name for name in said if name not in absent]  # type: ignore[attr-defined]


# -- every route has a rule


def test_beside_every_route_stands_what_it_needs(settings: Settings) -> None:
    app = create_app(settings)
    assert {"/jobs", "/jobs/{job_id}/cancel", "/predict", "/keys/{key_id}", "/metrics", "/livez"} <= {
        route.path for route in all_routes(app.routes)
    }
    assert without_a_rule(app) == []


def test_a_route_without_a_rule_is_found(settings: Settings) -> None:
    app = create_app(settings)
    forgotten = APIRouter()
    forgotten.add_api_route("/forgotten", lambda: None)
    app.include_router(forgotten)
    assert without_a_rule(app) == ["/forgotten"]


async def test_every_route_of_the_contract_wants_a_key_once_there_is_one(keyed: Settings) -> None:
    async with running(keyed) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
        calls = [(method, path) for path, methods in paths.items() for method in methods if not is_open(path)]
        answers = {call: await http.request(*call, json={}) for call in calls}
    assert len(calls) > 20
    assert {call: answer.status_code for call, answer in answers.items() if answer.status_code != 401} == {}
    assert {answer.headers["www-authenticate"] for answer in answers.values()} == {"Bearer"}


async def test_only_an_admin_passes_everywhere(keyed: Settings) -> None:
    async with running(keyed) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
        changing = [(method, path) for path, methods in paths.items() for method in methods if method != "get"]
        for method, path in changing:
            passed = {
                name for name in SECRETS
                if (await http.request(method, path, json=[], headers=bearer(name))).status_code != 403
            }  # fmt: skip
            is_asking = path.startswith(("/predict", "/embed", "/v2/", "/batches"))
            others = set(SECRETS) if is_asking else {"boss", "trainer", "trainer2"}
            assert passed == ({"boss"} if path.startswith("/keys") else others), (method, path)


async def test_what_a_key_may_read(keyed: Settings) -> None:
    """A key with the scope predict reads answers alone.

    Checkpoints, logs and training images need other scopes.
    """
    async with running(keyed) as http:

        async def readers(path: str) -> set[str]:
            return {name for name in SECRETS if (await http.get(path, headers=bearer(name))).status_code != 403}

        for path in ("/batches", "/v2", "/v2/models/digits"):
            assert await readers(path) == set(SECRETS), path
        job = "events logs metrics curves.svg checkpoints checkpoints/c/content deliveries"
        others = "jobs models datasets datasets/pets/samples.png networks metrics jobs/job_1 models/digits@latest"
        model = "report report.html content"
        paths = [*others.split(), *(f"jobs/job_1/{rest}" for rest in job.split())]
        for path in [*paths, *(f"models/digits@latest/{rest}" for rest in model.split())]:
            assert await readers(f"/{path}") == {"boss", "trainer", "trainer2", "reader"}, path
        assert await readers("/keys") == {"boss"}


async def test_probes_page_and_docs_need_no_key(keyed: Settings) -> None:
    async with running(keyed) as http:
        paths = ("/livez", "/", "/page/main.js", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css")
        assert {path: (await http.get(path)).status_code for path in paths} == dict.fromkeys(paths, 200)
        assert (await http.get("/readyz")).json()["status"] == "not ready"


async def test_what_is_not_there_is_not_told_without_a_key(keyed: Settings) -> None:
    async with running(keyed) as http:
        for path in ("/nothing", "/livez/", "/livez/x", "/docs/x"):
            assert (await http.get(path)).status_code == 401
            assert (await http.get(path, headers=bearer("asker"))).status_code == 404


@pytest.mark.parametrize(
    "header",
    [
        "Bearer nobody-knows-this-key",
        "Bearer ",
        "Bearer",
        f"Basic {SECRETS['boss']}",
        SECRETS["boss"],
        f"Bearer {SECRETS['boss'][:-1]}",
        "Bearer \xe4\xff",
    ],
)
async def test_what_is_no_known_key_is_refused(keyed: Settings, header: str) -> None:
    async with running(keyed) as http:
        answer = await http.get("/jobs", headers=[(b"Authorization", header.encode("latin-1"))])
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_the_word_bearer_may_be_written_as_one_likes(keyed: Settings) -> None:
    async with running(keyed) as http:
        for word in ("bearer", "BEARER"):
            assert (
                await http.get("/jobs", headers={"Authorization": f"{word} {SECRETS['reader']}"})
            ).status_code == 200


async def test_a_body_is_not_read_before_the_key(keyed: Settings) -> None:
    async with running(keyed) as http:
        answer = await http.post("/jobs", content=b"x", headers={"Content-Length": str(2**40)})
    assert answer.status_code == 401


async def test_keys_are_not_logged(keyed: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with running(keyed) as http:
            await http.get("/jobs", headers=bearer("boss"))
            await http.post("/jobs", headers=bearer("asker"), json={})
            refused = await http.get("/jobs", headers={"Authorization": "Bearer gue55ed-gue55ed"})
    told = caplog.text + refused.text
    assert not any(secret in told for secret in (*SECRETS.values(), "gue55ed"))


async def test_openapi_shows_that_keys_exist(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    assert document["paths"]["/jobs"]["post"]["security"] == [{"ApiKey": []}]
    assert "security" not in document["paths"]["/livez"]["get"]


@pytest.mark.parametrize("path", ["/jobs/%00", "/models/a%00b", "/jobs?after=%00", "/jobs?dataset=a%00"])
async def test_what_no_database_can_hold_is_not_looked_for(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert "%00" in answer.json()["detail"]


# -- headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/docs", 200),
        ("GET", "/static-offline-docs/swagger-ui.css", 200),
        ("GET", "/jobs/", 404),
        ("GET", "/nothing", 404),
        ("PATCH", "/jobs", 405),
        ("POST", "/jobs", 422),
        ("GET", "/readyz", 503),
        ("GET", "/fails", 500),
    ],
)
async def test_every_answer_has_the_headers(settings: Settings, method: str, path: str, status: int) -> None:
    def fails() -> None:
        raise ZeroDivisionError

    async with running(settings, raise_errors=False) as http:
        http._transport.app.add_api_route("/fails", fails)  # type: ignore[attr-defined]
        answer = await http.request(method, path)
    assert answer.status_code == status
    wanted = {name: [HEADERS[name]] for name in HEADERS}
    if path == "/docs":  # which names its one script by hash
        (policy,) = answer.headers.get_list("Content-Security-Policy")
        wanted["Content-Security-Policy"] = [policy]
        script = re.escape("; script-src 'self' 'sha256-") + "[A-Za-z0-9+/]{43}='"
        assert re.fullmatch(re.escape(HEADERS["Content-Security-Policy"]) + script, policy)
    assert {name: answer.headers.get_list(name) for name in HEADERS} == wanted
    is_json = answer.headers.get("content-type", "").startswith(("application/json", "application/problem+json"))
    assert answer.headers.get("cache-control") == ("no-store" if is_json else None)


async def test_the_policy_lets_nothing_come_from_elsewhere() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert "http" not in policy
    assert "*" not in policy
    assert "unsafe" not in policy
    assert "default-src 'self'" in policy


# -- other origins


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


async def test_pages_of_other_origins_are_not_let_in(http: httpx.AsyncClient) -> None:
    preflight = await http.options("/jobs", headers={"Origin": "https://evil.example"} | PREFLIGHT)
    answer = await http.get("/jobs", headers={"Origin": "https://evil.example"})
    assert preflight.status_code == 405
    assert not any(name.startswith("access-control") for name in (*preflight.headers, *answer.headers))


async def test_named_origins_are_let_in_and_no_others(keyed: Settings) -> None:
    async with running(keyed.model_copy(update={"cors_origins": ("https://lab.example",)})) as http:
        preflight = await http.options("/jobs", headers={"Origin": "https://lab.example"} | PREFLIGHT)
        refused = await http.get("/jobs", headers={"Origin": "https://lab.example"})
        other = await http.options("/jobs", headers={"Origin": "https://evil.example"} | PREFLIGHT)
    assert (preflight.status_code, refused.status_code, other.status_code) == (200, 401, 400)
    assert preflight.headers["access-control-allow-origin"] == "https://lab.example"
    assert refused.headers["access-control-allow-origin"] == "https://lab.example"  # so that the page can read why
    assert "access-control-allow-origin" not in other.headers


def test_origins_are_parted_by_commas_or_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESERVE_CORS_ORIGINS", "https://a.example, http://b.example:8080")
    settings = Settings()
    assert settings.cors_origins == ("https://a.example", "http://b.example:8080")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


@pytest.mark.parametrize("origins", ["a.example", "https://a.example/", "https://a.example/page", "ftp://a"])
def test_what_is_no_origin_is_refused(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    monkeypatch.setenv("TUNESERVE_CORS_ORIGINS", origins)
    with pytest.raises(ValidationError, match="is no origin"):
        Settings()


# -- beyond the loopback


LOOPBACK = ["127.0.0.1", "127.8.9.1", "::1", "localhost"]
BEYOND = ["0.0.0.0", "::", "192.168.1.7", "10.0.0.1", "my-host", "", "localhost.example"]


@pytest.mark.parametrize(("hosts", "loopback"), [(LOOPBACK, True), (BEYOND, False)])
def test_which_addresses_are_the_loopback(hosts: list[str], loopback: bool) -> None:
    assert {host: Settings(host=host).on_loopback for host in hosts} == dict.fromkeys(hosts, loopback)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[Settings]:
    """The settings with which the server was started, in a list."""
    seen: list[Settings] = []
    monkeypatch.setattr(server, "run", seen.append)
    monkeypatch.setenv("TUNESERVE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("TUNESERVE_HOST", "0.0.0.0")
    return seen


def test_without_keys_the_service_does_not_listen_beyond_the_loopback(started: list[Settings]) -> None:
    with pytest.raises(SystemExit) as refused:
        server.serve()
    told = str(refused.value.code)
    assert started == []
    assert told.count("\n") == 0
    assert all(word in told for word in ("0.0.0.0", "TUNESERVE_API_KEYS", "TUNESERVE_ALLOW_WITHOUT_KEYS=true"))


def test_where_keys_are_required_it_does_not_start_without_one(
    started: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESERVE_HOST", "127.0.0.1")
    monkeypatch.setenv("TUNESERVE_REQUIRE_KEYS", "true")
    with pytest.raises(SystemExit, match=r"TUNESERVE_REQUIRE_KEYS is set, .* TUNESERVE_API_KEYS"):
        server.serve()
    assert started == []
    monkeypatch.setenv("TUNESERVE_API_KEYS", GIVEN)
    server.serve()
    assert [settings.require_keys for settings in started] == [True]
    monkeypatch.setenv("TUNESERVE_ALLOW_WITHOUT_KEYS", "true")
    with pytest.raises(ValidationError, match="exclude each other"):
        Settings()


async def test_where_keys_are_required_nobody_is_let_in_on_the_loopback(settings: Settings) -> None:
    async with running(settings.model_copy(update={"require_keys": True})) as http:
        assert (await http.get("/jobs")).status_code == 401
        assert (await http.post("/keys", json={"name": "boss", "scopes": ["admin"]})).status_code == 401


@pytest.mark.parametrize(
    ("name", "value"), [("HOST", "127.0.0.1"), ("API_KEYS", GIVEN), ("ALLOW_WITHOUT_KEYS", "true")]
)
def test_the_ways_out(started: list[Settings], monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TUNESERVE_{name}", value)
    server.serve()
    assert len(started) == 1


def test_with_a_key_in_the_database_it_listens(started: list[Settings], db: Database) -> None:
    with db.write() as session:
        row, _ = api_keys.add(session, "boss", {Scope.ADMIN}, NOW, {})
    server.serve()
    assert len(started) == 1
    with db.write() as session:
        api_keys.revoke(session, row.id, NOW, {})
    with pytest.raises(SystemExit):
        server.serve()


async def test_when_the_last_key_goes_nobody_beyond_the_loopback_is_let_in(settings: Settings) -> None:
    async with running(settings.model_copy(update={"host": "0.0.0.0"})) as http:
        assert (await http.get("/jobs")).status_code == 401
        assert (await http.post("/keys", json={"name": "boss", "scopes": ["admin"]})).status_code == 401


def test_what_compose_allows_without_keys_is_published_on_the_loopback_alone() -> None:
    composed = (ROOT / "docker-compose.yml").read_text()
    published = re.findall(r"ports: \[(.*)\]", composed)
    assert "TUNESERVE_ALLOW_WITHOUT_KEYS: ${TUNESERVE_ALLOW_WITHOUT_KEYS:-true}" in composed
    assert published
    assert all(port.startswith('"127.0.0.1:') for port in published)
    assert composed.count("ports:") == len(published)
