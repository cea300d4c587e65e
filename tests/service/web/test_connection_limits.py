"""service.web.connection_limits: unanswered input is bounded in bytes, time and number."""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import uvicorn

from core.settings import Settings
from service.web import connection_limits
from service.web.body_pace import BodyPace

REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
FLOOD = 64 * 2**20
FLOODS = {
    "many headers": (REQUEST, b"x-header: " + b"a" * 1000 + b"\r\n"),
    "one header": (REQUEST + b"x-header: ", b"a" * 1000),
    "a name": (REQUEST, b"a" * 1000),
    "a request line": (b"GET /", b"a" * 1000),
    "a method": (b"", b"\r\n" * 500),
    "a chunk's extension": (CHUNKED + b"1;", b"a" * 1000),
    "trailers": (CHUNKED + b"1\r\na\r\n0\r\n", b"x-header: " + b"a" * 1000 + b"\r\n"),
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    bounds = {"header_timeout_s": 0.3, "body_timeout_s": 0.3, "max_connections": 20}
    return settings.model_copy(update=bounds)


@pytest.fixture
def address(server: uvicorn.Server) -> tuple[str, int]:
    host, port = server.servers[0].sockets[0].getsockname()
    return host, port


def connect(address: tuple[str, int], sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(address, timeout=20)
    connection.sendall(sent)
    return connection


def answer(connection: socket.socket) -> bytes:
    """Receive all that comes until the server closes the connection.

    Raise TimeoutError if it does not.
    """
    told = b""
    try:
        while piece := connection.recv(65536):
            told += piece
    except ConnectionError:  # closed while more was on its way to it
        pass
    connection.close()
    return told


def status(connection: socket.socket) -> int:
    told = answer(connection)
    assert told.count(b"HTTP/1.1") == 1, told
    return int(told.split()[1])


def padded(size: int) -> bytes:
    """Make a request whose line and headers have that many bytes."""
    head = REQUEST + b"Connection: close\r\nx-header: "
    return head + b"a" * (size - len(head) - 4) + b"\r\n\r\n"


# -- bytes


def test_headers_of_32_kib_pass_and_a_byte_more_is_refused(address: tuple[str, int], settings: Settings) -> None:
    assert settings.max_header_bytes == 32 * 2**10
    assert status(connect(address, padded(32 * 2**10))) == 200
    told = answer(connect(address, padded(32 * 2**10 + 1)))
    assert told.startswith(b"HTTP/1.1 431 ")
    assert b'"code": "headers_too_large"' in told


def test_each_request_of_a_connection_has_room_of_its_own(address: tuple[str, int]) -> None:
    connection = connect(address)
    for _ in range(3):
        connection.sendall(padded(20_000).replace(b"Connection: close\r\n", b""))
    connection.sendall(padded(100))
    assert answer(connection).count(b"HTTP/1.1 200 ") == 4


def test_a_large_body_passes_in_pieces_of_any_size(address: tuple[str, int]) -> None:
    body = b"not an image" * 20_000
    whole = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:1], body[1:100_000], body[100_000:]))
    closing = CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert status(connect(address, whole)) == 503  # no model: the body was read
    assert status(connect(address, closing + chunked + b"0\r\n\r\n")) == 503


def test_requests_sent_ahead_are_answered_and_a_flood_of_them_is_not(address: tuple[str, int]) -> None:
    few = answer(connect(address, (REQUEST + b"\r\n") * 7 + padded(100)))
    assert few.count(b"HTTP/1.1 200 ") == 8
    assert answer(connect(address, (REQUEST + b"\r\n") * 5_000)).count(b"HTTP/1.1 200 ") <= 1


@dataclass
class Service:
    process: subprocess.Popen[bytes]
    address: tuple[str, int]

    def memory_mb(self) -> float:
        """Return the peak resident memory of the service in MB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """The service as a process, whose memory is nobody else's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address: tuple[str, int] = probe.getsockname()
    environment = os.environ | {"TUNESERVE_DATA_DIR": str(tmp_path), "TUNESERVE_PORT": str(address[1])}
    process = subprocess.Popen([sys.executable, "-m", "service"], env=environment, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not _listens(address) and time.monotonic() < until:
        time.sleep(0.05)
    yield Service(process, address)
    process.terminate()
    process.wait(20)


def _listens(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def test_a_flood_of_any_kind_costs_no_memory_and_stalls_nobody(service: Service) -> None:
    before = service.memory_mb()
    for kind, (start, more) in FLOODS.items():
        flood = connect(service.address, start)
        try:
            for _ in range(FLOOD // len(more)):
                flood.sendall(more)
        except ConnectionError:  # it hears no more of it
            pass
        else:
            pytest.fail(f"all of it was taken: {kind}")
        assert answer(flood)[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400"), kind
        assert status(connect(service.address, padded(100))) == 200
    assert service.memory_mb() < before + 8


# -- time


def test_a_request_that_is_not_finished_is_given_up(address: tuple[str, int]) -> None:
    began = {"nothing": b"", "empty lines": b"\r\n\r\n", "a word": b"GE", "half its headers": REQUEST}
    for kind, sent in began.items():
        assert status(connect(address, sent)) == 408, kind


def test_bytes_that_drip_win_no_time_for_headers(address: tuple[str, int]) -> None:
    connection = connect(address, REQUEST)
    told = b""
    for _ in range(200):  # 10 s: far more than the deadline
        try:
            connection.sendall(b"x: y\r\n")
            connection.settimeout(0.05)
            told = connection.recv(100)
            break
        except TimeoutError:
            pass
    connection.close()
    assert told.startswith(b"HTTP/1.1 408 ")


def test_the_second_request_of_a_connection_has_the_same_deadline(address: tuple[str, int]) -> None:
    told = answer(connect(address, REQUEST + b"\r\n" + REQUEST))
    assert (told.count(b"HTTP/1.1 200 "), told.count(b"HTTP/1.1 408 ")) == (1, 1)
    for kind in (b"\r\n", b"GET", REQUEST):
        connection = connect(address, REQUEST + b"\r\n")
        while not connection.recv(65536).endswith(b"}"):
            pass
        connection.sendall(kind)
        assert status(connection) == 408, kind


def test_a_body_that_stands_still_is_given_up(address: tuple[str, int]) -> None:
    for sent in (POST + b"Content-Length: 100\r\n\r\nabc", CHUNKED + b"3\r\nabc\r\n"):
        assert status(connect(address, sent)) == 408


def test_a_body_that_goes_on_is_waited_for(address: tuple[str, int]) -> None:
    connection = connect(address, POST + b"Connection: close\r\nContent-Length: 8\r\n\r\n")
    for _ in range(8):  # longer than the deadline, all together
        time.sleep(0.1)
        connection.sendall(b"x")
    assert status(connection) == 503  # no model: the body was read


def test_a_body_that_drips_is_given_up(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "BodyPace", partial(BodyPace, window_s=0.5))
    connection = connect(address, POST + b"Content-Length: 1000\r\n\r\n")
    told = b""
    for _ in range(400):  # 20 s: far more than the window
        try:
            connection.sendall(b"x")
            connection.settimeout(0.05)
            told = connection.recv(100)
            break
        except TimeoutError:
            pass
    connection.close()
    assert told.startswith(b"HTTP/1.1 408 ")


# -- number


def test_a_connection_too_many_is_refused_and_the_others_go_on(address: tuple[str, int]) -> None:
    asking = connect(address, REQUEST)
    held = [connect(address, POST) for _ in range(19)]
    told = answer(connect(address))
    assert told.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: " in told
    asking.sendall(b"Connection: close\r\n\r\n")
    assert status(asking) == 200
    for connection in held:
        assert status(connection) == 408
    assert status(connect(address, padded(100))) == 200


def test_the_cap_leaves_files_to_open() -> None:
    assert Settings().max_connections < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
