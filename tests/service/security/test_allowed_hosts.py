"""service.security.allowed_hosts: a page whose name means 127.0.0.1 can do nothing."""

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from core.errors import HostNotAllowed
from core.settings import Settings
from service.security.allowed_hosts import AllowedHosts
from tests.conftest import running

KEY = "b0ss-" * 4
EVIL = {"Host": "attacker.example:8000"}


def is_let_in(settings: Settings, host: str, has_key: bool = False) -> bool:
    try:
        AllowedHosts(settings).check(host, has_key)
    except HostNotAllowed:
        return False
    return True


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]", ""])
def test_the_loopbacks_own_names_are_let_in(host: str) -> None:
    assert is_let_in(Settings(), host)


@pytest.mark.parametrize(
    "host", ["attacker.example", "attacker.example:8000", "localhost.attacker.example", "127.0.0.1.nip.example", "::1"]
)
def test_other_names_are_not(host: str) -> None:
    assert not is_let_in(Settings(), host)


@pytest.mark.parametrize(("listens_on", "host"), [("127.8.9.1", "127.8.9.1:80"), ("::1", "[::1]:80")])
def test_the_address_on_which_it_listens_is_let_in(listens_on: str, host: str) -> None:
    assert is_let_in(Settings(host=listens_on), host)


def test_beyond_the_loopback_and_with_a_key_any_name_will_do() -> None:
    assert is_let_in(Settings(host="0.0.0.0", allow_without_keys=True), "gpu-box:8000")
    assert is_let_in(Settings(), "gpu-box:8000", has_key=True)


@pytest.mark.parametrize("has_key", [True, False])
def test_where_names_are_given_only_these_are_let_in(has_key: bool) -> None:
    settings = Settings(host="0.0.0.0", allowed_hosts=("Lab.example",))
    allowed = [is_let_in(settings, host, has_key) for host in ("lab.example:443", "localhost", "attacker.example")]
    assert allowed == [True, True, False]


def test_names_are_parted_by_commas_or_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESERVE_ALLOWED_HOSTS", "lab.example, 10.0.0.7 [fe80::1]")
    assert Settings().allowed_hosts == ("lab.example", "10.0.0.7", "[fe80::1]")


@pytest.mark.parametrize("hosts", ["https://lab.example", "lab.example:8000", "fe80::1", "*"])
def test_what_is_no_host_is_refused(monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    monkeypatch.setenv("TUNESERVE_ALLOWED_HOSTS", hosts)
    with pytest.raises(ValidationError, match="is no host"):
        Settings()


# -- over HTTP


async def test_a_page_with_a_name_of_its_own_makes_no_job(http: httpx.AsyncClient) -> None:
    refused = await http.post("/jobs", json={}, headers=EVIL)
    assert (refused.status_code, refused.json()["code"]) == (421, "host_not_allowed")
    assert "TUNESERVE_ALLOWED_HOSTS" in refused.json()["detail"]
    assert (await http.get("/jobs")).json()["data"] == []


async def test_probes_are_answered_under_any_name(http: httpx.AsyncClient) -> None:
    assert (await http.get("/livez", headers=EVIL)).status_code == 200


async def test_where_there_are_keys_the_key_decides(settings: Settings) -> None:
    keyed = settings.model_copy(update={"api_keys": SecretStr(f"boss:admin:{KEY}")})
    async with running(keyed) as http:
        assert (await http.get("/jobs", headers=EVIL)).status_code == 401
        assert (await http.get("/jobs", headers=EVIL | {"Authorization": f"Bearer {KEY}"})).status_code == 200
