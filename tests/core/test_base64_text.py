"""core.base64_text: whatever form of base64 comes, the bytes are the same."""

import base64

import pytest

from core.base64_text import decode
from core.errors import InvalidInput

DATA = bytes(range(256)) * 3 + b"\xfb\xff"  # with both letters that the URL-safe alphabet writes otherwise


def test_every_form_is_read() -> None:
    for length in range(len(DATA) - 8, len(DATA) + 1):
        data = DATA[-length:]
        plain, safe = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
        in_lines = base64.encodebytes(data).decode()
        forms = (plain, safe, plain.rstrip("="), safe.rstrip("="), in_lines, in_lines.replace("\n", "\r\n"))
        for form in (*forms, *(f"data:image/png;base64,{form}" for form in forms), f"DATA:;BASE64,{plain}"):
            assert decode(form) == data, form[:40]
    assert decode("") == b""


def test_what_is_no_base64_is_refused_by_its_name() -> None:
    for text in (
        "?",
        "not base64!",
        "a",
        "aaaaa",
        "aGk===",
        "a=b=",
        "aGk=aGk=",
        "data:image/png;base64",
        "data:,aGk=",
        "ä",
    ):
        with pytest.raises(InvalidInput, match="images/0/b64"):
            decode(text, "images/0/b64")
