"""Judge whether a request's body arrives fast enough.

It does so over windows of time in which the body was read.
"""

WINDOW_S = 60.0


class BodyPace:
    """The pace of one body, measured over windows in seconds.

    Times are monotonic. A window in which nobody read is not judged.
    """

    def __init__(self, min_bytes_per_s: float, now: float, window_s: float = WINDOW_S) -> None:
        self._min_bytes_per_s = min_bytes_per_s
        self._window_s = window_s
        self._began: float | None = now  # None: the next bytes begin a window
        self._bytes = 0

    def receive(self, count: int, now: float) -> None:
        if self._began is None:
            self._began, self._bytes = now, 0
        self._bytes += count

    def pause(self) -> None:
        """Stop the clock while nobody reads.

        What the sender would have sent meanwhile is not known.
        """
        self._began = None

    def is_slow(self, now: float) -> bool:
        """Judge a window that is over, and begin the next one."""
        if self._began is None or now - self._began < self._window_s:
            return False
        slow = self._bytes < self._min_bytes_per_s * (now - self._began)
        self._began, self._bytes = now, 0
        return slow
