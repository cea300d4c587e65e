"""Print untrusted text at the terminal with its control characters escaped."""

from typing import Any

from rich.console import Console as RichConsole


class Console(RichConsole):
    """A console that escapes what it is given as plain strings."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(printable(each) if isinstance(each, str) else each for each in objects), **options)


def printable(text: str) -> str:
    """Replace control, format and bidirectional characters by their escapes.

    Line breaks and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in "\n\t" else sign.encode("unicode_escape").decode() for sign in text
    )
