"""Validation of URLs that the service calls for others.

service.security.outbound_client checks the host's address.
"""

import string
from urllib.parse import SplitResult, urlsplit

MAX_URL_LENGTH = 2048
MASK = "***"
PORTS = {"http": 80, "https": 443}
LOWEST_OTHER_PORT = 1024  # lower ports belong to system services such as mail and ssh
ALLOWED = frozenset(
    string.ascii_letters + string.digits + "-._~:/?#[]@!$&'()*+,;=%"
)  # RFC 3986; parsers agree on these


def check_url(url: str) -> SplitResult:
    """Split a URL that the service may call.

    ValueError gives the reason if it may not.
    """
    if len(url) > MAX_URL_LENGTH or not set(url) <= ALLOWED:
        raise ValueError(f"must be at most {MAX_URL_LENGTH} characters, all allowed in a URL (else: percent-encoded)")
    parts = urlsplit(url)  # ValueError: brackets that hold no IPv6 address
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    if "@" in parts.netloc:
        raise ValueError("must hold no user name and password")
    if port_of(parts) not in PORTS.values() and port_of(parts) < LOWEST_OTHER_PORT:
        raise ValueError(f"must use port 80, 443 or one from {LOWEST_OTHER_PORT} on")
    return parts


def masked(url: str) -> str:
    """Mask the path and query of a URL.

    Those of a webhook are often a secret.
    """
    parts = urlsplit(url)
    return url if not (parts.path.strip("/") or parts.query) else f"{parts.scheme}://{parts.netloc}/{MASK}"


def port_of(parts: SplitResult) -> int:
    """Return the explicit or default port.

    ValueError if it is no number up to 65535.
    """
    return PORTS[parts.scheme] if parts.port is None else parts.port
