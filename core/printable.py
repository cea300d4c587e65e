"""Make text from outside safe to log, and refuse misleading names."""

import unicodedata

NO_NUL = r"^[^\x00]*$"  # PostgreSQL cannot store NUL in text or read JSON fields that hold one
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
    """Return a name unless it has invisible characters.

    ValueError if a character is invisible or changes how the others are shown.
    """
    if sign := first_invisible(name):
        raise ValueError(f"must not hold the control or invisible character {printable(sign)}")
    return name


def first_invisible(text: str, kept: str = "") -> str:
    """Return the first invisible character; empty if there is none.

    Such are control, format and bidirectional characters that are not ``kept``.
    """
    return next((sign for sign in text if unicodedata.category(sign) in INVISIBLE and sign not in kept), "")
