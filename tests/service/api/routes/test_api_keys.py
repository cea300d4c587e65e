"""POST, GET and DELETE /keys, and the same by the command line."""

import json
from collections.abc import Callable

import httpx
import pytest
from pydantic import SecretStr
from rich.console import Console
from typer.testing import CliRunner, Result

from core.db.database import Database
from core.db.tables import Model
from core.repositories import api_keys
from core.settings import Settings
from tests.conftest import DIGIT_FILES, NOW, running
from tests.support.fakes import answered
from tuneserve.cli import keys as key_commands
from tuneserve.cli import main

ADMIN = {"name": "boss", "scopes": ["admin"]}


def bearer(made: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {made.json()['key']}"}


async def test_the_first_key_closes_the_door(http: httpx.AsyncClient) -> None:
    assert (await http.get("/jobs")).status_code == 200
    made = await http.post("/keys", json=ADMIN)
    assert made.status_code == 201
    assert (await http.get("/jobs")).status_code == 401
    assert (await http.get("/jobs", headers=bearer(made))).status_code == 200


async def test_a_key_is_shown_once(http: httpx.AsyncClient) -> None:
    made = await http.post("/keys", json=ADMIN)
    listed = await http.get("/keys", headers=bearer(made))
    (shown,) = listed.json()["data"]
    assert made.json() == shown | {"key": made.json()["key"]}
    assert (shown["name"], shown["scopes"], shown["revoked_at"]) == ("boss", ["admin"], None)
    assert made.json()["key"] not in listed.text
    assert api_keys.digest(made.json()["key"]) not in listed.text


async def test_the_first_key_must_be_an_admins(http: httpx.AsyncClient) -> None:
    answer = await http.post("/keys", json={"name": "a", "scopes": ["train", "predict"]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/scopes")
    assert "admin" in answer.json()["detail"]
    assert (await http.get("/jobs")).status_code == 200


async def test_a_key_can_do_what_its_scopes_say(http: httpx.AsyncClient) -> None:
    boss = bearer(await http.post("/keys", json=ADMIN))
    trainer = bearer(await http.post("/keys", json={"name": "ci", "scopes": ["train"]}, headers=boss))
    assert (await http.post("/jobs", json={}, headers=trainer)).status_code == 202
    refused = await http.post("/keys", json=ADMIN, headers=trainer)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert refused.json()["detail"] == "The key ci lacks the scope admin."


async def test_a_revoked_key_is_refused_at_once(http: httpx.AsyncClient) -> None:
    boss = bearer(await http.post("/keys", json=ADMIN))
    made = await http.post("/keys", json={"name": "ci", "scopes": ["train"]}, headers=boss)
    gone = await http.delete(f"/keys/{made.json()['id']}", headers=boss)
    assert gone.status_code == 204
    assert (await http.get("/jobs", headers=bearer(made))).status_code == 401
    assert [key["revoked_at"] is None for key in (await http.get("/keys", headers=boss)).json()["data"]] == [
        False,
        True,
    ]


async def test_when_all_keys_are_revoked_the_door_stays_shut(settings: Settings) -> None:
    async with running(settings) as http:
        made = await http.post("/keys", json=ADMIN)
        await http.delete(f"/keys/{made.json()['id']}", headers=bearer(made))
        left = [
            await http.get("/jobs"),
            await http.get("/jobs", headers=bearer(made)),
            await http.post("/keys", json=ADMIN),
        ]
    async with running(settings) as http:  # and after a new start
        left.append(await http.get("/jobs"))
    assert [answer.status_code for answer in left] == [401] * 4
    assert all("Every API key is revoked" in answer.json()["detail"] for answer in left)
    secret = "from-the-environment"
    async with running(settings.model_copy(update={"api_keys": SecretStr(f"ops:admin:{secret}")})) as http:
        assert (await http.get("/jobs", headers={"Authorization": f"Bearer {secret}"})).status_code == 200


async def test_what_another_process_made_or_revoked_is_known_soon(
    db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.security.api_keys.REFRESH_S", 0.01)
    async with running(settings) as http:
        with db.write() as session:
            row, key = api_keys.add(session, "boss", set(key_commands.Scope), NOW, {})
        headers = {"Authorization": f"Bearer {key}"}

        async def closed() -> bool:
            return (await http.get("/jobs")).status_code == 401

        async def revoked() -> bool:
            return (await http.get("/jobs", headers=headers)).status_code == 401

        await answered(closed)
        assert (await http.get("/jobs", headers=headers)).status_code == 200
        with db.write() as session:
            api_keys.revoke(session, row.id, NOW, {})
        await answered(revoked)


async def test_a_prediction_asks_the_database_for_no_key(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(settings) as http:
        headers = bearer(await http.post("/keys", json=ADMIN))
        monkeypatch.setattr(api_keys, "stored", None)  # whoever calls it now fails
        headers |= {"Content-Type": "image/png"}
        answers = [await http.post("/predict", content=b"x", headers=headers) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {503}  # no model; but the key was good


async def test_keys_of_the_environment_are_listed_and_cannot_be_revoked(settings: Settings) -> None:
    secret = "from-the-environment"
    async with running(settings.model_copy(update={"api_keys": SecretStr(f"ops:admin:{secret}")})) as http:
        headers = {"Authorization": f"Bearer {secret}"}
        (shown,) = (await http.get("/keys", headers=headers)).json()["data"]
        refused = await http.delete("/keys/env:ops", headers=headers)
    assert (shown["id"], shown["created_at"]) == ("env:ops", None)
    assert (refused.status_code, "TUNESERVE_API_KEYS" in refused.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": ["admin"]}, "/name"),
        ({"name": "", "scopes": ["admin"]}, "/name"),
        ({"name": "x" * 101, "scopes": ["admin"]}, "/name"),
        ({"name": "a\nb", "scopes": ["admin"]}, "/name"),
        ({"name": "a\x9bb", "scopes": ["admin"]}, "/name"),
        ({"name": "a\u202eb", "scopes": ["admin"]}, "/name"),
        ({"name": "a", "scopes": ["read"], "models": ["digits"]}, "/models"),
        ({"name": "a", "scopes": ["predict"], "models": []}, "/models"),
        ({"name": "a"}, "/scopes"),
        ({"name": "a", "scopes": []}, "/scopes"),
        ({"name": "a", "scopes": ["root"]}, "/scopes/0"),
        ({"name": "a", "scopes": ["admin"], "key": "mine"}, "/key"),
    ],
)
async def test_a_wrong_field_is_named(http: httpx.AsyncClient, body: dict[str, object], pointer: str) -> None:
    answer = await http.post("/keys", json=body)
    assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (422, [pointer])


async def test_a_key_may_be_limited_to_models(settings: Settings, published: Callable[..., Model]) -> None:
    """A key may be limited to models by name.

    The limit holds wherever a model is named, or none: then it is the default name.
    """
    digit, _ = published(), published(name="pets", at=NOW + 1)
    async with running(settings) as http:
        boss = bearer(await http.post("/keys", json=ADMIN))
        only = {"name": "shop", "scopes": ["predict"], "models": ["digits", "digits", "shop"]}
        made = await http.post("/keys", json=only, headers=boss)
        assert made.json()["models"] == ["digits", "shop"]
        free = bearer(await http.post("/keys", json={"name": "any", "scopes": ["predict"]}, headers=boss))
        line, form = b'{"array": [[0]]}', {"Content-Type": "application/x-ndjson"}

        async def asked(key: dict[str, str], model: str | None) -> set[int]:
            to = f"?model={model}" if model else ""
            v2 = f"/v2/models/{model or 'pets'}"
            answers = [
                await http.post(f"/predict{to}", content=b"no image", headers=key),
                await http.post(f"/batches{to}", content=line, headers=form | key),
                await http.post(f"{v2}/infer", content=b"nothing", headers=key),
                *[await http.get(f"{v2}{rest}", headers=key) for rest in ("", "/ready", "/stats", "/versions/1")],
            ]
            return {answer.status_code == 403 for answer in answers}

        for name in (None, "pets", digit.id, "pets@best"):
            assert (await asked(bearer(made), name), await asked(free, name)) == ({True}, {False}), name
        for name in ("digits", "digits@latest"):
            assert await asked(bearer(made), name) == {False}
        assert (await http.post("/predict/pets/1", content=b"no image", headers=bearer(made))).status_code == 403
        await http.put("/models/default", json={"name": "digits"}, headers=boss)

        async def is_default() -> bool:
            answer = await http.post("/predict", files={"file": DIGIT_FILES[7].read_bytes()}, headers=bearer(made))
            return answer.status_code == 200

        await answered(is_default)
        own = {"digits", "digits@latest"}
        for key, names in ((bearer(made), own), (free, own | {"pets", digit.id, "pets@best"})):
            told = (await http.get("/v2/models/stats", headers=key)).json()["model_stats"]
            assert {one["name"] for one in told} == names


async def test_a_key_that_is_not_there_is_not_found(http: httpx.AsyncClient) -> None:
    assert (await http.delete("/keys/key_none")).status_code == 404


# -- the command line


Type = Callable[..., Result]


@pytest.fixture
def type_(live: str, monkeypatch: pytest.MonkeyPatch) -> Type:
    monkeypatch.setattr(key_commands, "console", Console(width=200))
    monkeypatch.setenv("TUNESERVE_URL", live)
    return lambda *words: CliRunner().invoke(main.app, list(words))


def test_keys_are_made_listed_and_revoked_by_hand(type_: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    boss = type_("keys", "add", "boss", "--scope", "admin").output.strip()
    monkeypatch.setenv("TUNESERVE_API_KEY", boss)
    made = json.loads(type_("keys", "add", "ci", "--scope", "train", "--scope", "predict", "--json").output)
    shop = json.loads(type_("keys", "add", "shop", "--scope", "predict", "--model", "digits", "--json").output)
    assert (made["models"], shop["models"]) == (None, ["digits"])
    rows = type_("keys", "list").output.splitlines()
    assert any(made["id"] in row and "ci" in row and "predict, train" in row for row in rows)
    assert type_("keys", "revoke", made["id"]).output.strip() == "revoked"
    states = [key["revoked_at"] is None for key in json.loads(type_("keys", "list", "--json").output)]
    assert (boss.startswith("ts_"), states) == (True, [True, False, True])


def test_without_its_key_the_command_line_says_where_it_takes_it_from(
    type_: Type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    type_("keys", "add", "boss", "--scope", "admin")
    monkeypatch.setattr("sys.argv", ["tuneserve", "jobs"])
    with pytest.raises(SystemExit):
        main.main()
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "TUNESERVE_API_KEY" in err


@pytest.mark.parametrize("words", [("add",), ("add", "x"), ("add", "x", "--scope", "root"), ("revoke",)])
def test_words_that_mean_nothing_are_refused(words: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main.app, ["keys", *words]).exit_code == 2
