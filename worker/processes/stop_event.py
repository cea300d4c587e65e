"""A flag to wait for, which signal handlers may set."""

from queue import Empty, SimpleQueue


class Stop:
    """As threading.Event. That one's ``set`` takes a lock, which the ``wait`` that a signal interrupts may hold: its
    handler would wait for itself. To put something into a SimpleQueue is allowed at any moment.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._told: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        self._is_set = True
        self._told.put(None)

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it is set, after so many seconds at most."""
        if not self._is_set:
            try:
                self._told.get(timeout=timeout_s)
            except Empty:
                return self._is_set
            self._told.put(None)  # for whoever else waits
        return self._is_set
