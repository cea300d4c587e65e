"""Read JSON bodies, bounded in bytes and nesting.

Every error names its field.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from core.errors import InvalidInput, TooLarge
from core.json_nesting import BOM, refuse_deep

Body = TypeVar("Body", bound=BaseModel)


def read_json(model: type[Body], data: bytes, max_bytes: int) -> Body:
    """Parse and validate a JSON body of at most ``max_bytes``.

    TooLarge, or InvalidInput with the JSON pointer of the first field that is wrong. The interpreter is held while
    numbers are read, 0.25 s for 4 MiB of coloured pixels: hence the bound.
    """
    if len(data) > max_bytes:
        raise TooLarge(
            f"JSON with images may have {max_bytes} bytes, and this has {len(data)}: send the images as files "
            "(multipart/form-data) to /predict, or as binary tensors to /v2."
        )
    data = data.removeprefix(BOM)
    refuse_deep(data)
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        raise InvalidInput(f"The body is not JSON: {first['ctx']['error']}.")
    pointer = "".join(f"/{step}" for step in first["loc"])
    raise InvalidInput(f"{pointer or 'body'}: {first['msg'].removeprefix('Value error, ')}", pointer)


def json_of(model: type[BaseModel]) -> dict[str, Any]:
    """The body of a route that reads it by itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


class JsonRoute(APIRoute):
    """A route that bounds the nesting of its JSON body.

    FastAPI reads that body itself.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            return await handle(_JsonRequest(request.scope, request.receive))

        return bounded


class _JsonRequest(Request):
    async def body(self) -> bytes:
        return (await super().body()).removeprefix(BOM)

    async def json(self) -> Any:
        refuse_deep(await self.body())
        return await super().json()
