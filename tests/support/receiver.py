"""A real local HTTP server with scripted answers and recorded requests."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None  # done before anything is sent
    between: Callable[[], object] = lambda: None  # done when half of the body is sent


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]  # names in small letters
    body: bytes


class Receiver:
    """A receiver that gives its answers in turn.

    The last one is given for ever.
    """

    def __init__(self, port: int, answers: Sequence[Answer]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.answers = list(answers)
        self.asked: list[Asked] = []

    def next(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


class _Server(ThreadingHTTPServer):
    receiver: Receiver

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that leaves early.

        Some tests are about that.
        """


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        length = int(self.headers.get("content-length", 0))
        names = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.receiver.next(Asked(self.command, self.path, names, self.rfile.read(length)))
        answer.before()
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        half = len(answer.body) // 2
        self.wfile.write(answer.body[:half])
        self.wfile.flush()
        answer.between()
        self.wfile.write(answer.body[half:])

    do_GET = do_POST  # noqa: N815 - the names are http.server's

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def receiving(*answers: Answer) -> Iterator[Receiver]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        receiver = server.receiver = Receiver(server.server_port, answers or [Answer()])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
