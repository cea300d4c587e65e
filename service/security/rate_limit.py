"""Limit how often a caller may send requests.

Each caller has a token bucket.

In the memory of this process: of several processes each allows the rate, and a start forgets what was taken.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from core.errors import RateLimited

BURST_S = 2.0  # a bucket holds what comes in within so long
MAX_BUCKETS = 10_000  # the least recently used goes first; it was most likely full again


class RateLimit:
    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic, most: int = MAX_BUCKETS) -> None:
        self._per_s = per_s
        self._holds = max(1.0, per_s * BURST_S)
        self._clock = clock
        self._most = most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def take(self, caller: str) -> None:
        """Count one request of a caller.

        Raise RateLimited with the seconds until there is room for one.
        """
        now = self._clock()
        tokens, counted_at = self._buckets.pop(caller, (self._holds, now))
        tokens = min(self._holds, tokens + (now - counted_at) * self._per_s)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        if not allowed:
            wait_s = math.ceil((1 - tokens) / self._per_s)
            raise RateLimited(f"More than {self._per_s:g} requests a second; try again in {wait_s} s.", wait_s)
