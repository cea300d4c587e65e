"""What of an answer goes into one packet."""

import asyncio
import socket
from typing import Any

import httpx
import pytest

from service.joined_writes import Joining

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Wire:
    """A transport that remembers each write."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def joining(wire: Wire) -> Any:
    return Joining(wire, asyncio.get_running_loop())  # type: ignore[arg-type]


async def test_a_head_waits_for_its_body(wire: Wire, joining: Any) -> None:
    joining.write(HEAD)
    joining.write(b"one")
    joining.write(b"two")
    assert wire.sent == [HEAD + b"one", b"two"]
    await asyncio.sleep(0)
    joining.write(HEAD)
    joining.write(HEAD)  # a body that looks like a head
    assert wire.sent[2:] == [HEAD + HEAD]


async def test_a_head_whose_body_takes_long_is_sent_before_it(wire: Wire, joining: Any) -> None:
    joining.write(HEAD)
    assert wire.sent == []
    await asyncio.sleep(0)
    assert wire.sent == [HEAD]
    joining.write(b"body")
    assert wire.sent == [HEAD, b"body"]


async def test_a_head_without_a_body_is_sent_before_the_connection_closes(wire: Wire, joining: Any) -> None:
    joining.write(HEAD)
    joining.close()
    assert (wire.sent, wire.closed) == ([HEAD], True)
    await asyncio.sleep(0)
    assert wire.sent == [HEAD]


async def test_nothing_is_sent_to_a_client_that_has_left(wire: Wire, joining: Any) -> None:
    joining.write(HEAD)
    wire.closed = True
    await asyncio.sleep(0)
    assert wire.sent == []


async def test_all_else_is_asked_of_the_connection(joining: Any) -> None:
    assert joining.get_extra_info("socket") == "the socket"


def test_an_answer_of_the_service_comes_in_one_piece(live: str) -> None:
    url = httpx.URL(live)
    with socket.create_connection((url.host, url.port)) as client:
        for method, end in ((b"GET", b'{"status":"alive"}'), (b"HEAD", b"\r\n\r\n"), (b"GET", b'{"status":"alive"}')):
            client.sendall(method + b" /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = client.recv(2**16)
            assert answer.startswith(HEAD[:9])
            assert answer.endswith(end)
