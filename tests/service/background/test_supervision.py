"""service.background.supervision: background tasks go on, whatever goes wrong in them."""

import asyncio
import logging

import pytest

from core.settings import Settings
from service.background import supervision
from service.background.supervision import supervise
from service.background.webhook_sender import WebhookSender
from service.inference.model_reloader import ModelReloader
from tests.conftest import running
from tests.support.fakes import answered


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "AGAIN_S", 0.001)


async def test_a_task_that_fails_is_logged_with_its_cause_and_started_again(caplog: pytest.LogCaptureFixture) -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ZeroDivisionError(f"run {runs}")
        await asyncio.Event().wait()

    task = asyncio.create_task(supervise(work))
    await answered(lambda: _true(runs == 3))
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(record.levelname, str(record.exc_info and record.exc_info[1])) for record in caplog.records] == [
        ("ERROR", "run 1"),
        ("ERROR", "run 2"),
    ]
    assert "work failed" in caplog.messages[0]


@pytest.mark.parametrize(
    ("of", "method"),
    [(ModelReloader, "check"), (WebhookSender, "deliver_one"), (WebhookSender, "forget")],
    ids=lambda it: str(it),
)
async def test_the_service_goes_on_after_an_error_that_nobody_has_thought_of(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, of: type, method: str
) -> None:
    calls = 0
    real = getattr(of, method)

    def fail_the_second_time(self: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2 or (calls == 1 and method == "forget"):
            raise ZeroDivisionError(method)
        return real(self)

    monkeypatch.setattr(of, method, fail_the_second_time)
    caplog.set_level(logging.ERROR)
    async with running(settings):
        await answered(lambda: _true(calls > 4 or (method == "forget" and calls > 1)))
    assert [record for record in caplog.records if record.exc_info and record.exc_info[0] is ZeroDivisionError]


async def _true(condition: bool) -> bool:
    return condition
