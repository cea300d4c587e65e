"""Post signed webhook events, repeatedly until they arrive.

The signature is the one of https://www.standardwebhooks.com. It only reads rows that the jobs' events left
(core.repositories.webhook_deliveries): nothing here can fail or delay a job.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from standardwebhooks import Webhook

from core.db.database import Database
from core.errors import UrlNotReachable
from core.recipes.webhook import secret_bytes
from core.repositories import webhook_deliveries
from core.repositories.webhook_deliveries import Taken
from service.background.supervision import supervise
from service.security.outbound_client import TIMEOUT_S, OutboundClient

log = logging.getLogger(__name__)
WAITS_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0)  # after the first try, the second, ...; then it is given up
JITTER = 0.2  # as a share: what failed together does not come again together
LEASE_S = TIMEOUT_S + 50.0  # a service that dies while it sends is followed by another after that
CONCURRENCY = 4  # of one process, each to another host, so that a slow receiver does not stop the others
POLL_S = 1.0
FORGET_EVERY_S = 3600.0
GONE = 410  # the receiver wants no more of it (Standard Webhooks)


@dataclass(frozen=True)
class Failure:
    """The failure of one delivery attempt."""

    reason: str
    for_good: bool = False  # trying again would not help


class WebhookSender:
    """Deliver due webhook events; ``run`` does so until cancelled.

    ``chance`` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        db: Database,
        outbound: OutboundClient,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._db = db
        self._outbound = outbound
        self._now = now
        self._chance = chance
        self._busy: set[str] = set()  # hosts: one that does not answer holds up one of us, not all
        self._choosing = asyncio.Lock()

    async def run(self) -> None:
        await asyncio.gather(
            *(supervise(run) for run in [self._deliver_for_ever] * CONCURRENCY + [self._forget_for_ever])
        )

    async def deliver_one(self) -> bool:
        """Attempt the delivery that has been due longest; False if none."""
        async with self._choosing:
            taken = await asyncio.to_thread(self._take, frozenset(self._busy))
            if taken is None:
                return False
            self._busy.add(taken.host)
        try:
            failure = await self._send(taken)
            await asyncio.to_thread(self._record, taken, failure)
        finally:
            self._busy.discard(taken.host)
        return True

    async def _deliver_for_ever(self) -> None:
        while True:
            if not await self.deliver_one():
                await asyncio.sleep(POLL_S)

    async def _forget_for_ever(self) -> None:
        while True:
            await asyncio.to_thread(self.forget)
            await asyncio.sleep(FORGET_EVERY_S)

    def forget(self) -> None:
        with self._db.write() as session:
            webhook_deliveries.delete_completed(session, self._now())

    def _take(self, busy: frozenset[str]) -> Taken | None:
        with self._db.read() as session:
            if not webhook_deliveries.any_due(session, self._now(), busy):
                return None
        with self._db.write() as session:
            return webhook_deliveries.take(session, self._now(), LEASE_S, busy)

    async def _send(self, taken: Taken) -> Failure | None:
        body = json.dumps(taken.payload, separators=(",", ":")).encode()
        try:
            status = await self._outbound.post(taken.url, body, headers(taken, body, self._now()))
        except UrlNotReachable as error:
            return Failure(str(error))
        return None if 200 <= status < 300 else Failure(f"The receiver answered {status}.", for_good=status == GONE)

    def _record(self, taken: Taken, failure: Failure | None) -> None:
        with self._db.write() as session:
            if failure is None:
                webhook_deliveries.complete(session, taken, self._now())
            elif failure.for_good or taken.attempts > len(WAITS_S):
                log.warning("%s is given up after %d attempts: %s", taken.id, taken.attempts, failure.reason)
                webhook_deliveries.complete(session, taken, self._now(), failure.reason)
            else:
                webhook_deliveries.retry(session, taken, self._now() + self._wait_s(taken.attempts), failure.reason)

    def _wait_s(self, attempts: int) -> float:
        return WAITS_S[attempts - 1] * (1 + JITTER * self._chance())


def headers(taken: Taken, body: bytes, now: float) -> dict[str, str]:
    """Return the headers of one attempt.

    The id is the same for every attempt; timestamp and signature change.
    """
    given = {"Content-Type": "application/json", "webhook-id": taken.id, "webhook-timestamp": str(int(now))}
    if taken.secret is not None:
        at = datetime.fromtimestamp(int(now), UTC)
        given["webhook-signature"] = Webhook(secret_bytes(taken.secret)).sign(taken.id, at, body.decode())
    return given
