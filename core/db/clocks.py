"""Ages of rows and the clocks behind them: by whose clock a lease is kept, and when no age can be trusted."""

import logging
import time
from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

log = logging.getLogger(__name__)
MOST_DRIFT_S = 1.0  # between two looks; what a clock that is only corrected stays far below


def shared_now(session: Session, now: float) -> float:
    """The time by which leases are kept: PostgreSQL's own, since its workers may be on several machines whose clocks
    differ. With SQLite there is one machine, and it is ``now``.
    """
    if session.get_bind().dialect.name != "postgresql":
        return now
    return float(session.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())


class Steadiness:
    """Whether the wall clock has run as evenly as the monotonic one.

    After it was set, or the machine slept, every row looks too old or too young, until those that live have written
    again: for one lease nobody is to be judged by them.
    """

    def __init__(
        self, lease_s: float, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease_s = lease_s
        self._clock = clock
        self._monotonic = monotonic
        self._lead = clock() - monotonic()
        self._doubtful_until = monotonic()

    def holds(self) -> bool:
        """To be asked at every look."""
        now = self._monotonic()
        lead = self._clock() - now
        if abs(lead - self._lead) > MOST_DRIFT_S:
            log.warning("the clock has jumped by %+.1f s: nobody is taken for lost for now", lead - self._lead)
            self._doubtful_until = now + self._lease_s
        self._lead = lead
        return now >= self._doubtful_until
