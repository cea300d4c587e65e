"""service.security.outbound_client: users' URLs cannot reach our own network."""

import gzip
import socket
import ssl
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from core.errors import UrlNotReachable
from core.urls import check_url
from service.security import outbound_client
from service.security.outbound_client import OutboundClient, is_public
from tests.support.receiver import Answer, Receiver, receiving

PUBLIC = "93.184.216.34"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(Answer(body=b"hello")) as server:
        yield server


@pytest.fixture
def inside() -> OutboundClient:
    """A client that may call the servers of these tests."""
    return OutboundClient(allow_private=True)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """An event that is set at the end of the test.

    A server may wait for it.
    """
    event = threading.Event()
    yield event
    event.set()


# -- addresses


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "0.0.0.0",
        "168.63.129.16",
        "192.0.0.192",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%lo",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
    ],
)
def test_an_address_of_our_own_or_of_nobody_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0.0.0.0", "[::ffff:127.0.0.1]"],
)
async def test_our_own_machine_is_not_called_however_it_is_written(receiver: Receiver, host: str) -> None:
    with pytest.raises(UrlNotReachable, match="not a public address"):
        await OutboundClient().get(f"http://{host}:{receiver.port}/", 100)
    assert receiver.asked == []


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["::1"], ["::ffff:10.0.0.1"], [PUBLIC, "127.0.0.1"]], ids=str)
async def test_a_public_name_for_a_private_address_is_refused(receiver: Receiver, answers: list[str]) -> None:
    with pytest.raises(UrlNotReachable, match=r"pictures\.example is not a public address"):
        await OutboundClient(resolve=lambda host, port: answers).get(f"http://pictures.example:{receiver.port}/", 100)
    assert receiver.asked == []


async def test_a_name_is_looked_up_once_and_the_server_hears_it(receiver: Receiver) -> None:
    """A name is resolved once and sent to the server.

    A second look-up could answer something else.
    """
    looked_up: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    url = f"http://Pictures.example:{receiver.port}/a%20b/c?d=%2F&e"
    assert await OutboundClient(allow_private=True, resolve=resolve).get(url, 100) == b"hello"
    assert looked_up == ["pictures.example"]
    assert receiver.asked[0].headers["host"] == f"Pictures.example:{receiver.port}"
    assert receiver.asked[0].path == "/a%20b/c?d=%2F&e"


async def test_the_next_address_is_tried_when_one_takes_no_connection(receiver: Receiver) -> None:
    both = OutboundClient(allow_private=True, resolve=lambda host, port: ["127.0.0.2", "127.0.0.1"])
    assert await both.get(f"http://pictures.example:{receiver.port}/", 100) == b"hello"


@pytest.mark.parametrize("host", ["nobody.invalid", "a..b", "x" * 64 + ".example"])
async def test_a_name_without_an_address_says_so(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    def unknown(*args: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UrlNotReachable, match="has no address"):
        await OutboundClient().get(f"http://{host}/", 100)


async def test_a_resolver_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    monkeypatch.setattr(outbound_client, "TIMEOUT_S", 0.05)
    with pytest.raises(UrlNotReachable, match="no whole answer"):
        await OutboundClient(resolve=lambda host, port: [str(released.wait(10))]).get("http://pictures.example/", 100)
    released.set()


async def test_over_tls_the_server_is_asked_for_by_name_and_must_prove_it() -> None:
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, pytest.raises(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)  # it has no certificate to show

    thread = threading.Thread(target=serve)
    thread.start()
    there = OutboundClient(allow_private=True, resolve=lambda host, port: ["127.0.0.1"])
    with pytest.raises(UrlNotReachable, match=r"pictures\.example"):
        await there.get(f"https://pictures.example:{listener.getsockname()[1]}/", 100)
    thread.join()
    listener.close()
    assert asked == ["pictures.example"]


# -- the form of a URL


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example",
        "https://a.example/b?c=d#e",
        "http://a.example:80/",
        "https://a.example:8443/",
        "http://[2606:4700::1]:1024/",
        "HTTP://A.EXAMPLE/",
    ],
)
def test_an_ordinary_url_can_be_called(url: str) -> None:
    assert check_url(url).hostname


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "begin with http"),
        ("a.example/b", "begin with http"),
        ("ftp://a.example/", "begin with http"),
        ("file:///etc/passwd", "begin with http"),
        ("gopher://a.example/", "begin with http"),
        ("http://", "name a host"),
        ("http:///path", "name a host"),
        ("http://user:word@a.example/", "no user name"),
        ("http://a.example@127.0.0.1/", "no user name"),
        ("http://a.example:22/", "port 80, 443"),
        ("http://a.example:0/", "port 80, 443"),
        ("http://a.example:1023/", "port 80, 443"),
        ("http://a.example:65536/", "Port out of range"),
        ("http://a.example:x/", "Port could not be"),
        ("http://[::1/", "Invalid IPv6"),
        ("http://a.example/\r\nX: y", "percent-encoded"),
        ("http://a.example\\@b.example/", "percent-encoded"),
        ("http://a b.example/", "percent-encoded"),
        ("http://ä.example/", "percent-encoded"),
        ("http://a.example/" + "x" * 2048, "2048 characters"),
    ],
)
async def test_a_url_of_another_form_is_refused_with_the_reason(inside: OutboundClient, url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_url(url)
    with pytest.raises(UrlNotReachable, match=reason):
        await inside.get(url, 100)


# -- answers


async def test_a_redirect_is_not_followed(inside: OutboundClient, receiver: Receiver) -> None:
    for status in (301, 302, 303, 307, 308):
        with receiving(Answer(status, headers={"Location": receiver.url})) as elsewhere:
            with pytest.raises(UrlNotReachable, match=f"{status}, a redirect"):
                await inside.get(elsewhere.url, 100)
            with pytest.raises(UrlNotReachable, match=f"{status}, a redirect"):
                await inside.post(elsewhere.url, b"", {})
    assert receiver.asked == []


@pytest.mark.parametrize("status", [204, 206, 401, 404, 500])
async def test_what_is_got_is_a_whole_body_or_an_error(inside: OutboundClient, status: int) -> None:
    with receiving(Answer(status)) as there, pytest.raises(UrlNotReachable, match=f"answered {status}"):
        await inside.get(there.url, 100)


async def test_a_body_may_be_as_large_as_was_said_and_no_larger(inside: OutboundClient, receiver: Receiver) -> None:
    assert await inside.get(receiver.url, 5) == b"hello"
    with pytest.raises(UrlNotReachable, match="larger than 4 bytes"):
        await inside.get(receiver.url, 4)


async def test_a_body_without_an_end_is_given_up_when_it_is_too_large(inside: OutboundClient) -> None:
    endless = Answer(body=b"x" * 10**6, headers={"Content-Length": str(10**12)})
    with receiving(endless) as there, pytest.raises(UrlNotReachable, match="larger than 1,000 bytes"):
        await inside.get(there.url, 1000)


async def test_nothing_is_decompressed(inside: OutboundClient) -> None:
    packed = gzip.compress(b"x" * 10**6)
    with receiving(Answer(body=packed, headers={"Content-Encoding": "gzip"})) as there:
        assert await inside.get(there.url, len(packed)) == packed
        assert there.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("moment", ["before", "between"])
async def test_a_slow_server_is_not_waited_for(
    inside: OutboundClient, monkeypatch: pytest.MonkeyPatch, released: threading.Event, moment: str
) -> None:
    monkeypatch.setattr(outbound_client, "TIMEOUT_S", 0.2)
    held = partial(released.wait, 20)
    slow = Answer(body=b"hello", between=held) if moment == "between" else Answer(before=held)
    with receiving(slow) as there:
        with pytest.raises(UrlNotReachable, match="no whole answer"):
            await inside.get(there.url, 100)
        released.set()


async def test_a_connection_that_nobody_takes_is_told(inside: OutboundClient) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(UrlNotReachable, match=r"127\.0\.0\.1 gave no answer"):
            await inside.get(f"http://127.0.0.1:{bound.getsockname()[1]}/", 100)


async def test_what_is_no_http_is_told(inside: OutboundClient) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(UrlNotReachable, match="gave no answer"):
        await inside.get(f"http://127.0.0.1:{listener.getsockname()[1]}/", 100)
    thread.join()
    listener.close()


async def test_the_environments_proxy_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert await OutboundClient(allow_private=True).get(receiver.url, 100) == b"hello"
    assert proxy.asked == []


async def test_no_cookie_is_kept(inside: OutboundClient) -> None:
    with receiving(Answer(headers={"Set-Cookie": "who=me; Path=/"})) as there:
        await inside.get(there.url, 100)
        await inside.get(there.url, 100)
    assert "cookie" not in there.asked[1].headers


async def test_a_post_brings_its_body_and_headers(inside: OutboundClient, receiver: Receiver) -> None:
    receiver.answers = [Answer(202, b"thanks")]
    assert await inside.post(receiver.url + "/hook", b'{"a":1}', {"webhook-id": "x"}) == 202
    (asked,) = receiver.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/hook", b'{"a":1}')
    assert asked.headers["webhook-id"] == "x"
