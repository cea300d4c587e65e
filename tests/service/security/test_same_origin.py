"""service.security.same_origin: without keys, other origins' pages change nothing."""

import pytest
from pydantic import SecretStr

from core.settings import Settings
from service import server
from service.app import create_app
from tests.conftest import running

EVIL = {"Origin": "https://evil.example"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
REFUSED = (
    EVIL,
    {"Origin": "null"},
    {"Origin": "http://localhost:9999"},  # another program's page
    {"Origin": "http://[::"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {**EVIL, "Sec-Fetch-Site": "cross-site"},
    {**EVIL, "Sec-Fetch-Site": "none"},
)
LET_IN: tuple[dict[str, str], ...] = (
    {},
    {"Origin": "http://localhost"},
    {"Origin": "https://localhost"},  # behind a proxy with TLS
    {"Origin": "https://lab.example", "X-Forwarded-Host": "lab.example"},
    {"Origin": "https://lab.example", "Sec-Fetch-Site": "same-origin"},  # a proxy that passes another Host on
    {"Sec-Fetch-Site": "none"},
)
CHANGES = (
    ("POST", "/jobs"),
    ("POST", "/jobs/job_x/cancel"),
    ("POST", "/datasets?name=pets"),
    ("POST", "/batches"),
    ("POST", "/predict"),
    ("POST", "/v2/models/digits/infer"),
    ("PUT", "/models/aliases/mine"),
    ("PATCH", "/uploads/x"),
    ("DELETE", "/models/model_x"),
    ("POST", "/nothing"),
)


async def test_whatever_changes_something_is_refused_to_pages_of_other_origins(settings: Settings) -> None:
    async with running(settings) as http:
        for method, path in CHANGES:
            for headers in REFUSED:
                answer = await http.request(method, path, headers=headers | FORM)
                assert answer.status_code == 403, (path, headers)
                told = answer.json()
                assert told["error" if path.startswith("/v2") else "detail"].startswith("A page of another origin")
                assert path.startswith("/v2") or told["code"] == "cross_site"


async def test_the_own_page_and_programs_are_let_in_and_reading_is_free(settings: Settings) -> None:
    async with running(settings) as http:
        for headers in LET_IN:
            answer = await http.post("/jobs", json={"dataset": "digits"}, headers=headers)
            assert answer.status_code == 202, headers
        for headers in REFUSED:
            assert (await http.get("/jobs", headers=headers)).status_code == 200


async def test_named_origins_are_let_in_without_a_key_but_a_star_names_nobody(settings: Settings) -> None:
    named = {"Origin": "https://lab.example", "Sec-Fetch-Site": "cross-site"}
    for origins, status in ((("https://lab.example",), 202), (("https://other.example",), 403), (("*",), 403)):
        async with running(settings.model_copy(update={"cors_origins": origins})) as http:
            answer = await http.post("/jobs", json={"dataset": "digits"}, headers=named)
            assert answer.status_code == status, origins


async def test_a_key_is_enough_from_anywhere(settings: Settings) -> None:
    keyed = settings.model_copy(update={"api_keys": SecretStr("boss:admin:0123456789abcdef")})
    async with running(keyed) as http:
        headers = EVIL | {"Authorization": "Bearer 0123456789abcdef", "Sec-Fetch-Site": "cross-site"}
        assert (await http.post("/jobs", json={"dataset": "digits"}, headers=headers)).status_code == 202
        assert (await http.post("/jobs", json={"dataset": "digits"}, headers=EVIL)).status_code == 401


async def test_no_answer_may_be_embedded_by_another_origin(settings: Settings) -> None:
    async with running(settings) as http:
        for path in ("/", "/livez", "/jobs", "/nothing", "/docs", "/page/main.js"):
            assert (await http.get(path)).headers["cross-origin-resource-policy"] == "same-origin", path
        assert (await http.post("/jobs", headers=EVIL)).headers["cross-origin-resource-policy"] == "same-origin"


def test_any_origin_at_all_does_not_start_without_keys(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    started: list[Settings] = []
    monkeypatch.setattr(server, "run", started.append)
    monkeypatch.setenv("TUNESERVE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("TUNESERVE_CORS_ORIGINS", "*")
    for more in ({}, {"ALLOW_WITHOUT_KEYS": "true", "HOST": "0.0.0.0"}):
        for name, value in more.items():
            monkeypatch.setenv(f"TUNESERVE_{name}", value)
        with pytest.raises(SystemExit, match=r"TUNESERVE_CORS_ORIGINS=\*"):
            server.serve()
    assert started == []
    monkeypatch.setenv("TUNESERVE_API_KEYS", "boss:admin:0123456789abcdef")
    server.serve()
    assert len(started) == 1
    create_app(started[0])
