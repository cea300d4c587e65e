"""An event that signal handlers may set."""

from queue import Empty, SimpleQueue


class Stop:
    """An event like threading.Event whose ``set`` is safe in a signal handler.

    threading.Event.set takes a lock that the interrupted ``wait`` may hold, which deadlocks. SimpleQueue.put is
    reentrant.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._signals: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        self._is_set = True
        self._signals.put(None)

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the event; return whether it is set.

        At most ``timeout_s`` seconds.
        """
        if not self._is_set:
            try:
                self._signals.get(timeout=timeout_s)
            except Empty:
                return self._is_set
            self._signals.put(None)  # for other waiting threads
        return self._is_set
