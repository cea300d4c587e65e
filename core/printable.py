"""Text from outside: safe to write into a log, and names that are what they seem."""

import unicodedata

JOINERS = "\u200c\u200d"  # within words of Persian and Hindi, and within emoji
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format (direction, zero width), surrogates, line separators


def printable(text: str, kept: str = "") -> str:
    """Replace control, format and bidirectional characters by their escapes, but those ``kept``."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in kept else sign.encode("unicode_escape").decode() for sign in text
    )


def check_name(name: str) -> str:
    """Return the name; ValueError if a character of it is invisible, or changes how the others are shown."""
    if sign := first_invisible(name):
        raise ValueError(f"must not hold the control or invisible character {printable(sign)}")
    return name


def first_invisible(text: str, kept: str = "") -> str:
    """Find the first control, format or bidirectional character that is not ``kept``; empty if there is none."""
    return next((sign for sign in text if unicodedata.category(sign) in INVISIBLE and sign not in kept), "")
