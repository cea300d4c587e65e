"""Text from outside, safe to write into a log."""


def printable(text: str, kept: str = "") -> str:
    """Replace control, format and bidirectional characters by their escapes, but those ``kept``."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in kept else sign.encode("unicode_escape").decode() for sign in text
    )
