"""tuneserve.cli.doctor: the service that TUNESERVE_URL names is looked at too."""

import pytest

from tuneserve.cli.doctor import service_findings


def test_the_service_is_looked_at_where_a_url_is_set(live: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNESERVE_URL", raising=False)
    assert service_findings() == []
    monkeypatch.setenv("TUNESERVE_URL", live)
    assert service_findings() == [{"check": "service", "state": "ok", "detail": f"{live}: not ready"}]
    for url, told in (("http://127.0.0.1:1", "tuneserve up"), ("here:8000", "http://HOST:PORT")):
        monkeypatch.setenv("TUNESERVE_URL", url)
        (found,) = service_findings()
        assert found["state"] == "wrong"
        assert told in found["detail"]
