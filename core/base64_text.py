"""Decode base64 in all usual forms.

These are a data: URI, lines, the URL-safe alphabet, and base64 without padding.
"""

import base64

from core.errors import InvalidInput

URL_SAFE = str.maketrans("-_", "+/")


def decode(text: str, name: str = "b64") -> bytes:
    """Decode base64 in any of its forms; InvalidInput names the field."""
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not (comma and head.lower().endswith(";base64")):
            raise InvalidInput(
                f"{name} is a data: URI that is not in base64: it must begin with data:image/png;base64,"
            )
    compact = "".join(text.split()).translate(URL_SAFE)
    body = compact.rstrip("=")
    try:
        if "=" in body or len(compact) - len(body) > 2:
            raise ValueError
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except ValueError as error:
        raise InvalidInput(f"{name} is not base64.") from error
