"""Set headers that restrict what a browser may do with answers."""

import base64
import hashlib
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# the page and /docs work offline: nothing comes from elsewhere, and nothing inline runs
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
INLINE = re.compile(r"<(script|style)(?![^>]*\bsrc=)[^>]*>(.*?)</\1>", re.DOTALL)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",  # without CORS no other page gets an answer, as an image neither
    "Content-Security-Policy": POLICY,
}
ALWAYS = tuple((name.lower().encode(), value.encode()) for name, value in HEADERS.items())
NO_STORE = (b"cache-control", b"no-store")
JSON = (b"application/json", b"application/problem+json")


class SecurityHeaders:
    """Add the headers that an answer lacks.

    Caches do not keep JSON, since it describes the present state.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _completed(list(message.get("headers", ())))
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def _completed(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    own = dict(headers)
    wanted = (*ALWAYS, NO_STORE) if own.get(b"content-type", b"").startswith(JSON) else ALWAYS
    return headers + [header for header in wanted if header[0] not in own]


def policy_with_inline(document: str) -> str:
    """Return a policy that allows a document's inline scripts and styles.

    Each is allowed by its hash.
    """
    found = INLINE.findall(document)
    allowed = [
        f"; {kind}-src 'self' {' '.join(_hash(text) for named, text in found if named == kind)}"
        for kind in ("script", "style")
        if any(named == kind for named, _ in found)
    ]
    return POLICY + "".join(allowed)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
