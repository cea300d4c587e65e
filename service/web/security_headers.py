"""Headers on every answer that keep a browser from doing more with it than is meant."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# the page and /docs work offline: nothing comes from elsewhere. /docs has its scripts and styles inline
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": POLICY,
}
ALWAYS = tuple((name.lower().encode(), value.encode()) for name, value in HEADERS.items())
NO_STORE = (b"cache-control", b"no-store")
JSON = (b"application/json", b"application/problem+json")


class SecurityHeaders:
    """Adds them to what has none of its own; JSON is not to be kept by caches, since it tells the present state."""

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
