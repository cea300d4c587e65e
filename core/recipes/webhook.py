"""The webhook of a recipe, and the key that signs its deliveries."""

import base64
import binascii
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    field_validator,
)

from core.printable import NO_NUL
from core.urls import MASK, check_url

SECRET_PREFIX, MIN_SECRET_LENGTH = "whsec_", 24  # bytes; Standard Webhooks


class Webhook(BaseModel):
    """A webhook for a job's events, signed after https://www.standardwebhooks.com."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        description="HTTP or HTTPS URL to call, on a public address by default; redirects are not followed."
    )
    events: Annotated[list[Literal["status", "metrics", "checkpoint", "done"]], FailFast()] = Field(
        ["done"],
        min_length=1,
        max_length=4,
        description="Events to deliver; `done` is the end of the job, with any status.",
    )
    secret: str | None = Field(
        None,
        min_length=16,
        max_length=512,
        pattern=NO_NUL,
        repr=False,  # nor is it shown by the API: service.api.schemas.jobs
        description="Signing key: whsec_ and at least 24 bytes in base64, or any text. It is never shown again.",
        json_schema_extra={"writeOnly": True},
    )

    @field_validator("url")
    @classmethod
    def _url_can_be_called(cls, value: str) -> str:
        if value.endswith(f"/{MASK}"):
            raise ValueError("must be the whole address: its path is not shown, since it is often a secret")
        check_url(value)
        return value

    @field_validator("secret")
    @classmethod
    def _secret_is_what_it_seems(cls, value: str | None) -> str | None:
        if value is not None and value.startswith(SECRET_PREFIX) and len(secret_bytes(value)) < MIN_SECRET_LENGTH:
            raise ValueError(f"must hold at least {MIN_SECRET_LENGTH} bytes in base64 after {SECRET_PREFIX}")
        return value


def secret_bytes(secret: str) -> bytes:
    """Decode a webhook's secret to the signing key.

    Empty if it is not base64 after its prefix.
    """
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    text = secret.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
