"""Parse references to models: an id, `pets`, `pets/3` or `pets@best`.

`pets` is what serves under that name, `pets/3` a version, `pets@best` an alias.
"""

import re
from dataclasses import dataclass

from core.errors import NotFound
from core.ids import MODEL_ID, is_model_id

LATEST = "latest"  # the newest version of a name
BEST = "best"  # its highest test accuracy among the versions tested on the same images as the newest one
SERVING = "serving"  # the version that answers for a name
FOLLOWING = (LATEST, BEST)  # move with each publication, never by hand

NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
ALIAS = r"[a-z0-9_-]{1,64}"
VERSION = r"[0-9]{1,9}"
REFERENCE = rf"({MODEL_ID}|{NAME}|{NAME}/{VERSION}|{NAME}@{ALIAS})"
RESERVED = ("default", "imagenet", "random")  # /models/default, and the recipe's `weights`
FORMS = "a model is named by its id or as pets, pets/3 or pets@best"


@dataclass(frozen=True)
class Reference:
    """A version, or an alias, of a name."""

    name: str
    version: int | None = None
    alias: str = SERVING

    @property
    def serves(self) -> bool:
        """Check whether it means the model that answers for its name."""
        return self.version is None and self.alias == SERVING


def parse(text: str) -> Reference:
    """Parse a reference that is not an id.

    NotFound if it cannot name a model.
    """
    found = re.fullmatch(rf"({NAME})(?:/({VERSION})|@({ALIAS}))?", text)
    if found is None or is_model_id(text):
        raise NotFound(f"There is no model {text[:300]}; {FORMS}.")
    name, version, alias = found.groups()
    return Reference(name, int(version) if version else None, alias or SERVING)


def refusal(name: str) -> str | None:
    """Say why models cannot have this name; None if they can."""
    if not re.fullmatch(NAME, name):
        return "must be 1 to 64 small letters, digits, _ and -, the first a letter or digit"
    if name in RESERVED or is_model_id(name):
        return f"must not be {', '.join(RESERVED)} or begin with model_"
    return None
