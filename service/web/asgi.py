"""Read what ASGI leaves to each layer: headers and lengths."""

from starlette.types import Scope

PROBES = ("/livez", "/readyz")  # requested every few seconds: no log line and no span while all is well


def header(scope: Scope, name: bytes) -> str:
    """Return the first header of that name, or "".

    ``name`` is in small letters. Starlette's Headers take ten times as long for one.
    """
    for given, value in scope["headers"]:
        if given == name:
            return bytes(value).decode("latin-1")
    return ""


def announced_bytes(scope: Scope) -> int:
    """Return the announced length of the body, 0 if none is."""
    announced = header(scope, b"content-length")
    return int(announced) if announced.isascii() and announced.isdigit() else 0
