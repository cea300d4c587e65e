"""A client of a job's event stream that reconnects.

It hangs up, is cut off, and comes back with Last-Event-ID.
"""

import time
from dataclasses import dataclass, field

import httpx

READ_S = 30.0  # a silent stream has a sign of life every 15 s


@dataclass
class Listener:
    """A listener that keeps the numbers of all events it receives.

    ``seen`` holds them in the order in which they came, over all connections.
    """

    url: str
    job_id: str
    seen: list[int] = field(default_factory=list)
    done: bool = False

    def listen(self, at_most: int | None = None) -> None:
        """Listen on one connection.

        It ends with the log, or when ``at_most`` events have come.
        """
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self.seen[-1] if self.seen else "")}
        before = len(self.seen)
        with httpx.stream("GET", f"{self.url}/jobs/{self.job_id}/events", headers=headers, timeout=READ_S) as answer:
            answer.raise_for_status()
            self.done = answer.status_code == 204  # only `done` was missed
            kind, number = "", 0
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "id":
                    number = int(value)
                elif not line and kind:
                    self._take(kind, number)
                    kind = ""
                if self.done or (at_most is not None and len(self.seen) - before >= at_most):
                    return

    def listen_through_everything(self, until: float) -> None:
        """Listen to the log's end, however often the service dies.

        It gives up at ``until`` (monotonic).
        """
        while not self.done and time.monotonic() < until:
            try:
                self.listen()
            except httpx.TransportError:
                time.sleep(0.2)

    def _take(self, kind: str, number: int) -> None:
        if kind == "done":
            self.done = True  # it repeats the last number
        else:
            self.seen.append(number)
