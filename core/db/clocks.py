"""The clock of leases, and a guard against jumps of it."""

import logging
import time
from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

log = logging.getLogger(__name__)
MAX_DRIFT_S = 1.0  # between two checks; a clock that is only slewed stays far below


def shared_now(session: Session, now: float) -> float:
    """Return the clock time of leases, in seconds since the epoch.

    PostgreSQL's own time, since its workers may be on several machines whose clocks differ. SQLite is used on one
    machine alone: it is ``now``.
    """
    if session.get_bind().dialect.name != "postgresql":
        return now
    return float(session.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())


class LeaseGuard:
    """Judge whether leases can be checked by the age of heartbeats.

    After the clock was set, the machine slept or the database was away, every heartbeat looks too old or too young
    until the next one is written: for one lease no age is valid.
    """

    def __init__(
        self, lease_s: float, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease_s = lease_s
        self._clock = clock
        self._monotonic = monotonic
        self._lead = clock() - monotonic()
        self._answered_at = self._unsteady_until = monotonic()

    def is_steady(self) -> bool:
        """Check whether the wall clock has run evenly for a lease, and the database answered.

        To be called each time before a worker is judged lost.
        """
        now = self._monotonic()
        lead = self._clock() - now
        if abs(lead - self._lead) > MAX_DRIFT_S:
            log.warning("the clock has jumped by %+.1f s: no worker counts as lost for now", lead - self._lead)
            self._unsteady_until = now + self._lease_s
        self._lead = lead
        return now >= self._unsteady_until

    def database_answered(self) -> None:
        """Note that the database answered; call it more often than every half lease.

        If that is longer ago than half a lease, others could not write their heartbeats either.
        """
        now = self._monotonic()
        if now - self._answered_at > self._lease_s / 2:
            log.warning("no word with the database for %.1f s: no worker counts as lost", now - self._answered_at)
            self._unsteady_until = now + self._lease_s
        self._answered_at = now
