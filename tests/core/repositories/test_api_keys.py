"""core.repositories.api_keys and core.scopes: keys are made, found, revoked, and told to nobody."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from core.db.database import Database
from core.db.tables import Key
from core.errors import Conflict, InvalidInput, NotFound
from core.repositories import api_keys
from core.scopes import Scope, parse_keys
from core.settings import Settings
from tests.conftest import NOW

SECRET = "s3cret-s3cret-s3cret"
GIVEN = f"boss:admin:{SECRET}"
Add = Callable[..., tuple[Key, str]]


@pytest.fixture
def add(db: Database) -> Add:
    def make(*scopes: Scope, name: str = "laptop", others: api_keys.Callers | None = None) -> tuple[Key, str]:
        with db.write() as session:
            return api_keys.add(session, name, scopes, NOW, others or {})

    return make


def known(db: Database) -> api_keys.Callers:
    with db.read() as session:
        return api_keys.stored(session)


def revoke(db: Database, key_id: str, others: api_keys.Callers | None = None) -> None:
    with db.write() as session:
        api_keys.revoke(session, key_id, NOW + 1, others or {})


def test_a_key_is_random_and_finds_its_caller(db: Database, add: Add) -> None:
    row, key = add(Scope.ADMIN)
    assert key.startswith("ts_")
    assert len(base64.urlsafe_b64decode(key.removeprefix("ts_") + "=")) == 32
    assert known(db)[api_keys.digest(key)] == api_keys.Caller(row.id, "laptop", frozenset({Scope.ADMIN}))
    assert add(Scope.ADMIN)[1] != key


def test_the_key_itself_is_not_in_the_database(db: Database, add: Add, settings: Settings) -> None:
    row, key = add(Scope.ADMIN)
    written = b"".join(file.read_bytes() for file in settings.data_dir.glob("tuneserve.db*"))
    assert row.digest.encode() in written
    assert key.encode() not in written
    assert key.removeprefix("ts_").encode() not in written


@pytest.mark.parametrize("scopes", [{Scope.TRAIN}, {Scope.PREDICT, Scope.TRAIN}])
def test_the_first_key_must_be_able_to_make_another(db: Database, add: Add, scopes: set[Scope]) -> None:
    with pytest.raises(InvalidInput, match="must have the scope admin") as refused:
        add(*scopes)
    assert refused.value.pointer == "/scopes"
    assert known(db) == {}
    add(Scope.ADMIN)
    add(*scopes)
    assert len(known(db)) == 2


def test_beside_a_key_of_the_environment_the_first_may_have_any_scope(db: Database, add: Add) -> None:
    add(Scope.PREDICT, others=api_keys.given(parse_keys(GIVEN)))
    assert [caller.scopes for caller in known(db).values()] == [{Scope.PREDICT}]


def test_a_revoked_key_is_no_longer_known_and_stays_listed(db: Database, add: Add) -> None:
    row, _ = add(Scope.ADMIN)
    revoke(db, row.id)
    revoke(db, row.id)
    assert known(db) == {}
    with db.read() as session:
        assert [(one.id, one.revoked_at) for one in api_keys.listed(session)] == [(row.id, NOW + 1)]


def test_a_key_that_there_was_is_remembered(db: Database, add: Add) -> None:
    with db.read() as session:
        assert not api_keys.exist(session)
    revoke(db, add(Scope.ADMIN)[0].id)
    with db.read() as session:
        assert api_keys.exist(session)


def test_the_last_key_that_can_make_others_stays_while_there_are_others(db: Database, add: Add) -> None:
    boss, other = add(Scope.ADMIN)[0], add(Scope.TRAIN)[0]
    with pytest.raises(Conflict, match="last key with the scope admin"):
        revoke(db, boss.id)
    assert len(known(db)) == 2
    revoke(db, other.id)
    revoke(db, boss.id)
    assert known(db) == {}


def test_a_key_of_the_environment_can_make_others_too(db: Database, add: Add) -> None:
    boss, _ = add(Scope.ADMIN)[0], add(Scope.TRAIN)
    revoke(db, boss.id, api_keys.given(parse_keys(GIVEN)))
    assert len(known(db)) == 1


def test_what_cannot_be_revoked_is_told(db: Database) -> None:
    with pytest.raises(NotFound, match="no key key_none"):
        revoke(db, "key_none")
    with pytest.raises(Conflict, match="TUNESERVE_API_KEYS"):
        revoke(db, "env:boss")


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        ({Scope.PREDICT}, {Scope.PREDICT}),
        ({Scope.READ}, {Scope.PREDICT, Scope.READ}),
        ({Scope.TRAIN, Scope.PREDICT}, {Scope.PREDICT, Scope.READ, Scope.TRAIN}),
        ({Scope.ADMIN}, set(Scope)),
    ],
    ids=["predict", "read", "train and predict", "admin"],  # a set's order differs from process to process
)
def test_a_scope_includes_those_before_it(scopes: set[Scope], may: set[Scope]) -> None:
    caller = api_keys.Caller("key_1", "laptop", frozenset(scopes))
    assert {scope for scope in Scope if caller.may(scope)} == may


# -- of the environment


@pytest.mark.parametrize("between", [",", " ", "\n", " , \n"])
def test_several_keys_stand_in_one_variable(between: str) -> None:
    boss, ci = parse_keys(f"{GIVEN}{between}ci:train+predict:abc:def:ghi:jkl:mno{between}")
    assert (boss.name, set(boss.scopes), boss.key) == ("boss", {Scope.ADMIN}, SECRET)
    assert (ci.name, set(ci.scopes), ci.key) == ("ci", {Scope.TRAIN, Scope.PREDICT}, "abc:def:ghi:jkl:mno")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SECRET, "entry 1 names a scope"),
        (f":train:{SECRET}", "entry 1 has no name"),
        (f"a:{SECRET}", "entry 1 names a scope that is none of predict, read, train, admin"),
        (f"a::{SECRET}", "entry 1 names a scope"),
        (f"{GIVEN},b:train+root:{SECRET}", "entry 2 names a scope"),
        ("a:train:short-s3cret", "at least 16 visible"),
        (f"a:train:{SECRET}ü", "at least 16 visible"),
        (f"{GIVEN},boss:train:x{SECRET}", "the same name"),
        (f"{GIVEN},b:train:{SECRET}", "the same key"),
        (",", "entry 1 has no name"),
    ],
)
def test_a_wrong_entry_is_named_without_its_secret(monkeypatch: pytest.MonkeyPatch, text: str, told: str) -> None:
    monkeypatch.setenv("TUNESERVE_API_KEYS", text)
    with pytest.raises(ValidationError, match=told) as refused:
        Settings()
    assert "api_keys" in str(refused.value)
    assert "s3cret" not in str(refused.value) + repr(refused.value)


def test_another_wrong_setting_does_not_show_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESERVE_API_KEYS", GIVEN)
    monkeypatch.setenv("TUNESERVE_PREDICT_QUEUE", "1")
    with pytest.raises(ValidationError, match="TUNESERVE_PREDICT_QUEUE") as refused:
        Settings()
    assert "s3cret" not in str(refused.value)


def test_settings_do_not_tell_the_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNESERVE_API_KEYS", GIVEN)
    settings = Settings(data_dir=tmp_path)
    assert [one.key for one in settings.given_keys] == [SECRET]
    told = f"{settings!r} {settings} {settings.given_keys} {settings.model_dump()} {settings.model_dump_json()}"
    assert "s3cret" not in told


def test_a_trainer_gets_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESERVE_API_KEYS", GIVEN)
    for name, value in Settings().environment().items():
        monkeypatch.setenv(name, value)
    assert Settings().given_keys == ()
    assert "s3cret" not in str(Settings().environment())
