"""Call addresses that users give, but none of our own network.

A host is resolved once, every address it has must be public, and the connection goes to the very address that was
looked at: a second look-up could answer something else (DNS rebinding). Redirects are not followed and the
environment's proxies not used, since either would choose another address. Time and size have bounds.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import SplitResult

import httpx

from core.errors import UrlNotReachable
from core.urls import check_url, port_of

TIMEOUT_S = 10.0  # for all of a call: name, connection, and every byte of the answer
CONNECT_S = 3.0  # to one address
MAX_ADDRESSES = 3  # of one host, tried in turn
MAX_CONCURRENCY = 16
UNICAST = ipaddress.IPv6Network("2000::/3")  # all that was ever given to anybody (RFC 4291)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # the last 32 bits are an IPv4 address (RFC 6052)
METADATA = ("168.63.129.16", "192.0.0.192")  # of clouds whose metadata server looks public: Azure, Oracle
Resolve = Callable[[str, int], list[str]]


def addresses_of(host: str, port: int) -> list[str]:
    """Resolve a name to its addresses; raise OSError if that fails.

    It blocks as long as the system's resolver takes.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Check whether an address is public.

    Our machine, our network and a cloud's metadata are not.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped or ip in NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in UNICAST or ip.sixtofour or ip.teredo:  # the latter: tunnels to any IPv4 address
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and address not in METADATA


@dataclass(frozen=True)
class _Call:
    method: str
    parts: SplitResult
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    max_bytes: int = 0  # of the answer's body; 0: it is not read


class OutboundClient:
    """Get and post; every failure is UrlNotReachable.

    Nothing stays open between two calls.
    """

    def __init__(self, allow_private: bool = False, resolve: Resolve = addresses_of) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        # its own: names of strangers may block for long
        self._resolving = ThreadPoolExecutor(MAX_CONCURRENCY, "resolve")
        # a kept connection would be used again for another host of the same address, under the first one's certificate
        limits = httpx.Limits(max_connections=MAX_CONCURRENCY, max_keepalive_connections=0)
        timeout = httpx.Timeout(TIMEOUT_S, connect=CONNECT_S)
        trusted = httpx.create_ssl_context(trust_env=False)
        trusted.load_default_certs()  # the machine's own authorities too
        forgetful = CookieJar(DefaultCookiePolicy(allowed_domains=()))  # else one host's cookie goes to its neighbour
        self._client = httpx.AsyncClient(
            verify=trusted, trust_env=False, follow_redirects=False, cookies=forgetful, limits=limits, timeout=timeout
        )
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each URL, and a URL may hold a secret

    async def get(self, url: str, max_bytes: int) -> bytes:
        """Return the body of a 200; UrlNotReachable if it is larger."""
        status, body = await self._within_time(_Call("GET", _parts(url), max_bytes=max_bytes))
        if status != 200:
            raise UrlNotReachable(f"The URL answered {status}, not 200.")
        return body

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post a body and return the answer's status.

        Nothing else of the answer is read.
        """
        status, _ = await self._within_time(_Call("POST", _parts(url), headers, body))
        return status

    async def _within_time(self, call: _Call) -> tuple[int, bytes]:
        host = call.parts.hostname
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._first_answer(call, await self._addresses(call.parts))
        except TimeoutError as error:
            raise UrlNotReachable(f"{host} gave no whole answer within {TIMEOUT_S:g} s.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UrlNotReachable(f"{host} gave no answer: {str(error) or type(error).__name__}.") from error

    async def _addresses(self, parts: SplitResult) -> list[str]:
        """Return the host's addresses; refuse if any is not public."""
        host = parts.hostname or ""
        try:
            look_up = asyncio.get_running_loop().run_in_executor
            addresses = await look_up(self._resolving, self._resolve, host, port_of(parts))
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that is empty or longer than 63 characters
            raise UrlNotReachable(f"The name {host} has no address.") from error
        if not (self._allow_private or all(is_public(address) for address in addresses)):
            raise UrlNotReachable(f"{host} is not a public address; only public ones may be called.")
        return addresses[:MAX_ADDRESSES]

    async def _first_answer(self, call: _Call, addresses: list[str]) -> tuple[int, bytes]:
        """Return the answer of the first address that accepts the connection."""
        for address in addresses[:-1]:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):  # nothing was sent yet
                return await self._answer(call, address)
        return await self._answer(call, addresses[-1])

    async def _answer(self, call: _Call, address: str) -> tuple[int, bytes]:
        parts = call.parts
        query = parts.query.encode() if parts.query else None
        target = httpx.URL(scheme=parts.scheme, host=address, port=port_of(parts), path=parts.path or "/", query=query)
        headers = {**call.headers, "Host": parts.netloc, "Accept-Encoding": "identity", "User-Agent": "tuneserve"}
        name = {"sni_hostname": parts.hostname}  # TLS: the name to connect to, and the certificate checked against it
        stream = self._client.stream(call.method, target, headers=headers, content=call.body, extensions=name)
        async with stream as response:
            if response.is_redirect:
                raise UrlNotReachable(f"The URL answered {response.status_code}, a redirect; these are not followed.")
            return response.status_code, await _read(response, call.max_bytes) if call.max_bytes else b""


def _parts(url: str) -> SplitResult:
    try:
        return check_url(url)
    except ValueError as error:
        raise UrlNotReachable(f"This URL cannot be called: {error}.") from error


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    """Read a body of at most ``max_bytes``, without decompressing it.

    A small answer cannot become a huge one.
    """
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise UrlNotReachable(f"The URL's answer is larger than {max_bytes:,} bytes.")
    return bytes(body)
