"""Answer 304 for what the client already has (If-None-Match)."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.asgi import header

UNCHANGED = (b"etag", b"cache-control", b"last-modified", b"content-location", b"vary")  # what a 304 repeats


class ConditionalRequests:
    """Answer 304 where the client already knows an answer's ETag.

    Only answers to GET are compared.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = header(scope, b"if-none-match") if scope["type"] == "http" and scope["method"] == "GET" else ""
        if not known:
            await self._app(scope, receive, send)
            return
        unchanged = ended = False

        async def send_if_new(message: Message) -> None:
            nonlocal unchanged, ended
            if message["type"] == "http.response.start" and message["status"] in (200, 206):
                headers = list(message.get("headers", ()))
                unchanged = _knows(known, dict(headers).get(b"etag", b"").decode("latin-1"))
                if unchanged:
                    message = {**message, "status": 304, "headers": [one for one in headers if one[0] in UNCHANGED]}
            elif message["type"] == "http.response.body" and unchanged:
                if ended:
                    return
                ended, message = True, {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, receive, send_if_new)


def _knows(known: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    return bool(etag) and ("*" in tags or etag.removeprefix("W/") in tags)
