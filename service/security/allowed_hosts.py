"""Check the Host header of requests to a service without keys.

The name of a web page can be made to mean 127.0.0.1 (DNS rebinding). To the browser the service is then that page's own
server, so that its scripts may train and delete; but the request still carries the page's name as its Host.
"""

import re

from core.errors import HostNotAllowed
from core.settings import Settings

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
PORT = re.compile(r":\d*$")
HINT = "is no allowed host of this service; TUNESERVE_ALLOWED_HOSTS takes more of them."


class AllowedHosts:
    """Check that a request names a host of ours.

    All requests are checked where ``allowed_hosts`` names some. Otherwise only those without a key are, on the
    loopback, since a page has none. Beyond the loopback others know the service by names that it cannot know.
    """

    def __init__(self, settings: Settings) -> None:
        own = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._names = frozenset(name.lower() for name in (*LOOPBACK, own, *settings.allowed_hosts))
        self._for_all = bool(settings.allowed_hosts)
        self._for_those_without_key = settings.on_loopback

    def check(self, host: str, has_key: bool) -> None:
        """Raise HostNotAllowed if the Host header names none of ours.

        ``host`` may have a port. A browser always sends the header.
        """
        if not (self._for_all or (self._for_those_without_key and not has_key)):
            return
        name = PORT.sub("", host).lower()
        if host and name not in self._names:
            raise HostNotAllowed(f"{name[:255]!r} {HINT}")
