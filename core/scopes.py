"""Scopes of API keys, and parsing of the keys in the environment."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

MIN_KEY_LENGTH = 16  # characters; a generated key has 46
FORM = "each is name:scope+scope:key"


class Scope(StrEnum):
    """A permission of an API key; each includes those above it."""

    PREDICT = "predict"  # predictions, and batches of one's own
    READ = "read"
    TRAIN = "train"
    ADMIN = "admin"


@dataclass(frozen=True)
class GivenKey:
    """A key of TUNESERVE_API_KEYS."""

    name: str
    scopes: frozenset[Scope]
    key: str = field(repr=False)


def allows(scopes: Collection[Scope], scope: Scope) -> bool:
    """Check whether one of ``scopes`` is the scope, or includes it."""
    rank = list(Scope).index
    return any(rank(held) >= rank(scope) for held in scopes)


def parse_keys(text: str) -> tuple[GivenKey, ...]:
    """Parse entries separated by commas or whitespace.

    ValueError names a wrong entry by its position only: the text is secret.
    """
    given = tuple(_parse(number, entry) for number, entry in enumerate(re.split(r"[,\s]+", text.strip(", \t\r\n")), 1))
    for kind, values in (("name", [one.name for one in given]), ("key", [one.key for one in given])):
        if len(set(values)) < len(values):
            raise ValueError(f"two entries have the same {kind}")
    return given


def _parse(number: int, entry: str) -> GivenKey:
    name, _, rest = entry.partition(":")
    scopes, _, key = rest.partition(":")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise ValueError(f"entry {number} has no name of letters, digits, _ . - ({FORM})")
    if not set(scopes.split("+")) <= set(Scope):
        raise ValueError(f"entry {number} names a scope that is none of {', '.join(Scope)} ({FORM})")
    if not re.fullmatch(rf"[\x21-\x7e]{{{MIN_KEY_LENGTH},}}", key):
        raise ValueError(f"entry {number} needs a key of at least {MIN_KEY_LENGTH} visible ASCII characters ({FORM})")
    return GivenKey(name, frozenset(Scope(scope) for scope in scopes.split("+")), key)
