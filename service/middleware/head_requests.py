"""Answer HEAD wherever GET is answered, without the body."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

OWN = ("/uploads/",)  # routes that answer HEAD themselves, as tus has it


class HeadRequests:
    """Answer HEAD as GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith(OWN):
            await self._app(scope, receive, send)
            return
        ended = False

        async def send_head(message: Message) -> None:
            """End the answer with the first piece of the body.

            The server then reports to an endless stream that the client has left.
            """
            nonlocal ended
            if message["type"] != "http.response.body":
                await send(message)
            elif not ended:
                ended = True
                await send({"type": "http.response.body", "body": b""})

        get_scope = {**scope, "method": "GET"}  # the server goes on to see a HEAD
        await self._app(get_scope, receive, send_head)
        scope.update({name: value for name, value in get_scope.items() if name != "method"})
