"""Webhook deliveries are signed, repeated until accepted, and never concurrent.

The modules are core.repositories.webhook_deliveries and service.background.webhook_sender.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from pydantic import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from core.db.database import Database
from core.db.tables import Delivery, Job
from core.recipes.recipe import Recipe, ResolvedRecipe
from core.repositories import events, job_control, jobs, webhook_deliveries
from core.repositories.jobs import Claim
from core.settings import Settings
from service.background.webhook_sender import LEASE_S, WAITS_S, WebhookSender
from service.security import outbound_client as outbound
from service.security.outbound_client import OutboundClient
from tests.conftest import EACH_DATABASE, NOW, url_of
from tests.support.fakes import until
from tests.support.receiver import Answer, Receiver, receiving

Enqueue = Callable[..., Job]
Claimed = Callable[..., Claim]
SECRET = "whsec_" + base64.b64encode(bytes(range(24))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(24)).decode()
URL = "https://hooks.example/jobs"


@pytest.fixture(params=EACH_DATABASE)
def database_url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    yield from url_of(request.param, settings)


class Clock:
    """A sender's time, moved by the test."""

    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def sender(db: Database, clock: Clock) -> WebhookSender:
    return WebhookSender(db, OutboundClient(allow_private=True), clock, chance=lambda: 0.5)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def told(db: Database, enqueue: Enqueue) -> Callable[..., str]:
    """Make a cancelled job with a webhook and return its id.

    The webhook is to be told of the cancellation.
    """

    def make(url: str, at: float = NOW, **more: Any) -> str:
        job = enqueue(at, webhook={"url": url, **more})
        with db.write() as session:
            job_control.cancel(session, job.id, at)
        return job.id

    return make


def deliveries(db: Database, job_id: str) -> list[Delivery]:
    with db.read() as session:
        return webhook_deliveries.of_job(session, job_id, None, 100)


def types(db: Database, job_id: str) -> list[str]:
    return sorted(delivery.payload["type"] for delivery in deliveries(db, job_id))


# -- the recipe's field


@pytest.mark.parametrize("secret", [None, SECRET, SECRET.rstrip("="), "sixteen letters.", "s" * 512])
def test_a_webhook_is_told_of_the_end_unless_it_asks_for_more(secret: str | None) -> None:
    webhook = Recipe(webhook={"url": URL, "secret": secret}).webhook
    assert webhook is not None
    assert webhook.events == ["done"]


@pytest.mark.parametrize(
    ("webhook", "field", "reason"),
    [
        ({}, "url", "required"),
        ({"url": "ftp://hooks.example"}, "url", "must begin with http"),
        ({"url": "https://me:word@hooks.example"}, "url", "no user name"),
        ({"url": URL, "events": []}, "events", "at least 1"),
        ({"url": URL, "events": ["log"]}, "events", "'done'"),
        ({"url": URL, "secret": "short"}, "secret", "at least 16 characters"),
        ({"url": URL, "secret": "***"}, "secret", "at least 16 characters"),
        ({"url": URL, "secret": "whsec_" + base64.b64encode(bytes(23)).decode()}, "secret", "at least 24 bytes"),
        ({"url": URL, "secret": "whsec_" + "?" * 40}, "secret", "in base64 after whsec_"),
        ({"url": URL, "secert": SECRET}, "secert", "not permitted"),
    ],
)
def test_a_webhook_that_cannot_work_is_refused_by_field(webhook: Any, field: str, reason: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Recipe(webhook=webhook)
    (error,) = refusal.value.errors()
    assert error["loc"][:2] == ("webhook", field)
    assert reason in error["msg"]


def test_the_secret_is_in_the_row_and_nowhere_else(db: Database, told: Callable[..., str]) -> None:
    job_id = told(URL, secret=SECRET)
    with db.read() as session:
        job = jobs.get(session, job_id)
        written = [event.data for event in events.after(session, job_id, 0, 100)]
    recipe = Recipe.model_validate(job.recipe)
    decided = {
        "image_size": 28,
        "image_fit": None,
        "epochs": 1,
        "batch_size": 2,
        "learning_rate": 0.1,
        "optimizer": "sgd",
    }
    decided |= {"weight_decay": 0, "augmentation": "none", "ema": 0, "compile": False, "precision": "fp32"}
    resolved = ResolvedRecipe.model_validate(recipe.model_dump() | decided)
    assert job.recipe["webhook"]["secret"] == SECRET
    shown = [repr(recipe), resolved.model_dump_json(), json.dumps(written), str(deliveries(db, job_id)[0].payload)]
    assert not [text for text in shown if SECRET in text]


# -- what is written


def test_the_end_of_a_job_is_told_once_whatever_it_is(db: Database, claimed: Claimed) -> None:
    claim = claimed(webhook={"url": URL})
    error = {"code": "killed", "message": "", "hint": "", "traceback_tail": ""}
    with db.write() as session:
        jobs.release(session, claim, "the worker was told to stop", NOW)
        again = jobs.claim(session, "worker_a", NOW)
        assert again is not None
        jobs.fail(session, again, error, NOW + 1.5)
    (delivery,) = deliveries(db, claim.job_id)
    data = delivery.payload["data"]
    assert delivery.payload["type"] == "job.done"
    assert datetime.fromisoformat(delivery.payload["timestamp"]).timestamp() == NOW + 1.5
    assert (data["job_id"], data["status"], data["model_id"]) == (claim.job_id, "failed", None)
    assert data["detail"] == {"status": "failed", "error": error}


def test_each_kind_of_event_is_told_to_who_asks_for_it(db: Database, claimed: Claimed) -> None:
    all_kinds = ["status", "metrics", "checkpoint", "done"]
    asking = [claimed(webhook={"url": URL, "events": [kind]}) for kind in all_kinds]
    for claim in asking:
        with db.write() as session:
            for kind in ("metrics", "step", "checkpoint", "log"):
                events.append(session, claim.job_id, kind, {"epoch": 1}, NOW, claim.attempt)
            jobs.fail(session, claim, {"code": "killed"}, NOW)
    assert [types(db, claim.job_id) for claim in asking] == [
        ["job.status"] * 3,  # queued, running, failed
        ["job.metrics"],
        ["job.checkpoint"],
        ["job.done"],
    ]


def test_a_job_without_a_webhook_tells_nobody(db: Database, enqueue: Enqueue) -> None:
    job = enqueue()
    with db.write() as session:
        job_control.cancel(session, job.id, NOW)
        assert not webhook_deliveries.any_due(session, NOW)


def test_what_was_rolled_back_is_told_to_nobody(db: Database, enqueue: Enqueue) -> None:
    job = enqueue(webhook={"url": URL})

    def cancel_and_fail() -> None:
        with db.write() as session:
            job_control.cancel(session, job.id, NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cancel_and_fail()
    assert deliveries(db, job.id) == []


# -- who sends


def test_no_two_take_the_same_delivery(db: Database, told: Callable[..., str]) -> None:
    for _ in range(12):
        told(URL)
    taken: list[str] = []

    def take_all() -> None:
        for _ in range(2 * 12):  # no more than that, if what is taken is not leased
            with db.write() as session:
                delivery = webhook_deliveries.take(session, NOW, LEASE_S)
            if delivery is None:
                return
            taken.append(delivery.id)

    threads = [threading.Thread(target=take_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(set(taken))) == (12, 12)


async def test_a_service_that_dies_while_it_sends_is_followed_by_another(
    db: Database, told: Callable[..., str], receiver: Receiver, sender: WebhookSender, clock: Clock
) -> None:
    job_id = told(receiver.url)
    with db.write() as session:
        lost = webhook_deliveries.take(session, NOW, LEASE_S)
    clock.at = NOW + LEASE_S - 1
    assert not await sender.deliver_one()
    clock.at = NOW + LEASE_S
    assert await sender.deliver_one()
    assert lost is not None
    assert [asked.headers["webhook-id"] for asked in receiver.asked] == [lost.id]
    assert deliveries(db, job_id)[0].attempts == 2


async def test_who_comes_back_after_its_lease_changes_nothing(
    db: Database, told: Callable[..., str], receiver: Receiver, sender: WebhookSender, clock: Clock
) -> None:
    job_id = told(receiver.url)
    with db.write() as session:
        late = webhook_deliveries.take(session, NOW, LEASE_S)
    clock.at = NOW + LEASE_S
    await sender.deliver_one()
    assert late is not None
    with db.write() as session:
        webhook_deliveries.retry(session, late, NOW, "too late")
        webhook_deliveries.complete(session, late, NOW, "too late")
    (delivery,) = deliveries(db, job_id)
    assert (delivery.completed_at, delivery.error) == (clock.at, None)


# -- what is sent


async def test_a_delivery_is_signed_as_the_standards_own_library_wants(
    told: Callable[..., str], receiver: Receiver, sender: WebhookSender, clock: Clock
) -> None:
    clock.at = time.time()  # the library compares with the real one
    job_id = told(receiver.url, clock.at, secret=SECRET)
    assert await sender.deliver_one()
    (asked,) = receiver.asked
    assert Webhook(SECRET).verify(asked.body, asked.headers)["data"]["job_id"] == job_id
    assert asked.headers["content-type"] == "application/json"
    for secret, body in ((OTHER, asked.body), (SECRET, asked.body.replace(b"cancelled", b"succeeded"))):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, asked.headers)


async def test_any_text_can_be_the_secret(told: Callable[..., str], receiver: Receiver, sender: WebhookSender) -> None:
    secret = secrets.token_urlsafe(16)
    told(receiver.url, secret=secret)
    await sender.deliver_one()
    (asked,) = receiver.asked
    signed = b".".join([asked.headers["webhook-id"].encode(), str(int(NOW)).encode(), asked.body])
    digest = hmac.digest(secret.encode(), signed, hashlib.sha256)
    assert asked.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


async def test_without_a_secret_nothing_is_signed(
    told: Callable[..., str], receiver: Receiver, sender: WebhookSender
) -> None:
    told(receiver.url)
    await sender.deliver_one()
    assert "webhook-signature" not in receiver.asked[0].headers
    assert receiver.asked[0].headers["webhook-timestamp"] == str(int(NOW))


# -- when it fails


async def test_what_failed_comes_again_with_the_same_id_and_body(
    db: Database, told: Callable[..., str], receiver: Receiver, sender: WebhookSender, clock: Clock
) -> None:
    receiver.answers = [Answer(500), Answer(200)]
    job_id = told(receiver.url, secret=SECRET)
    assert await sender.deliver_one()
    assert not await sender.deliver_one()
    assert deliveries(db, job_id)[0].error == "The receiver answered 500."
    clock.at = deliveries(db, job_id)[0].next_attempt_at
    assert clock.at == NOW + 5 * 1.1
    assert await sender.deliver_one()
    first, second = receiver.asked
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    (delivery,) = deliveries(db, job_id)
    assert (delivery.attempts, delivery.completed_at, delivery.error) == (2, clock.at, None)


async def test_after_the_last_wait_it_is_given_up(
    db: Database, told: Callable[..., str], receiver: Receiver, sender: WebhookSender, clock: Clock
) -> None:
    receiver.answers = [Answer(503)]
    job_id = told(receiver.url)
    waits: list[float] = []
    while (delivery := deliveries(db, job_id)[0]).completed_at is None and len(waits) < 20:
        waits.append(delivery.next_attempt_at - clock.at)
        clock.at = delivery.next_attempt_at
        assert await sender.deliver_one()
    assert waits == pytest.approx([0, *(1.1 * wait for wait in WAITS_S)])
    assert (delivery.attempts, delivery.error) == (7, "The receiver answered 503.")
    assert len(receiver.asked) == 7


async def test_who_is_gone_is_asked_no_more(
    db: Database, told: Callable[..., str], receiver: Receiver, sender: WebhookSender
) -> None:
    receiver.answers = [Answer(410)]
    job_id = told(receiver.url)
    await sender.deliver_one()
    (delivery,) = deliveries(db, job_id)
    assert (delivery.attempts, delivery.completed_at, delivery.error) == (1, NOW, "The receiver answered 410.")


async def test_a_redirect_is_a_failure_that_says_so(
    db: Database, told: Callable[..., str], receiver: Receiver, sender: WebhookSender
) -> None:
    receiver.answers = [Answer(307, headers={"Location": "/elsewhere"})]
    job_id = told(receiver.url)
    await sender.deliver_one()
    (delivery,) = deliveries(db, job_id)
    assert (delivery.completed_at, len(receiver.asked)) == (None, 1)
    assert "redirect" in (delivery.error or "")


async def test_a_slow_receiver_stops_neither_the_next_one_nor_the_service(
    db: Database, told: Callable[..., str], sender: WebhookSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "TIMEOUT_S", 0.3)
    released = threading.Event()
    with receiving(Answer(before=partial(released.wait, 20))) as slow, receiving() as quick:
        first, second = told(slow.url, NOW - 1), told(quick.url)
        await asyncio.gather(sender.deliver_one(), sender.deliver_one())
        released.set()
    assert "no whole answer within 0.3 s" in (deliveries(db, first)[0].error or "")
    assert deliveries(db, second)[0].completed_at == NOW


async def test_a_refused_connection_is_tried_again(
    db: Database, told: Callable[..., str], sender: WebhookSender
) -> None:
    with receiving() as gone:
        pass
    job_id = told(gone.url)
    await sender.deliver_one()
    (delivery,) = deliveries(db, job_id)
    assert (delivery.attempts, delivery.completed_at) == (1, None)
    assert "gave no answer" in (delivery.error or "")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433"])
async def test_our_own_network_is_told_nothing_by_default(
    db: Database, told: Callable[..., str], receiver: Receiver, clock: Clock, host: str
) -> None:
    job_id = told(f"http://{host}:{receiver.port}/")
    assert await WebhookSender(db, OutboundClient(), clock).deliver_one()
    assert receiver.asked == []
    assert "not a public address" in (deliveries(db, job_id)[0].error or "")


async def test_what_is_done_is_forgotten_after_a_week(
    db: Database, told: Callable[..., str], receiver: Receiver, sender: WebhookSender, clock: Clock
) -> None:
    delivered, waiting = told(receiver.url), told(receiver.url, NOW + 1)
    await sender.deliver_one()
    clock.at = NOW + webhook_deliveries.KEEP_S
    sender.forget()
    assert [len(deliveries(db, job_id)) for job_id in (delivered, waiting)] == [1, 1]
    clock.at += 1
    sender.forget()
    assert [len(deliveries(db, job_id)) for job_id in (delivered, waiting)] == [0, 1]


class BlackHole(OutboundClient):
    """Takes what goes to one host and never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[str] = []

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        self.posted.append(url)
        if url == URL:
            await asyncio.Event().wait()
        return 200


async def test_a_receiver_that_never_answers_holds_up_nobody_else(
    db: Database, clock: Clock, told: Callable[..., str]
) -> None:
    for _ in range(20):
        told(URL, at=NOW - 1)
    alive = told("https://alive.example/jobs")
    outbound = BlackHole()
    delivering = asyncio.create_task(WebhookSender(db, outbound, clock).run())
    await until(lambda: deliveries(db, alive)[0].completed_at is not None)
    assert sorted(outbound.posted) == ["https://alive.example/jobs", URL]
    delivering.cancel()
