"""What ASGI leaves to each layer."""

from starlette.types import Scope

PROBES = ("/livez", "/readyz")  # asked every few seconds, for ever: no log line and no span while all is well


def header(scope: Scope, name: bytes) -> str:
    """The first of that name, in small letters, or "". Starlette's Headers take ten times as long for one."""
    for given, value in scope["headers"]:
        if given == name:
            return bytes(value).decode("latin-1")
    return ""


def announced_bytes(scope: Scope) -> int:
    """Return the length of a body that has one; 0 where it is not known before its end."""
    announced = header(scope, b"content-length")
    return int(announced) if announced.isascii() and announced.isdigit() else 0
