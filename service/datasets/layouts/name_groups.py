"""Groups of images by their file names, such as the frames of one burst."""

import re
from dataclasses import dataclass

from core.errors import InvalidInput

GROUP = "{group}"
MAX_PATTERN = 200  # characters


@dataclass(frozen=True)
class NamePattern:
    """A pattern like ``{group}_frame_*``: ``{group}`` is the group's name, ``*`` is anything.

    Each stands for as few characters as fit, from the left. It takes time linear in the name, whatever the pattern.
    """

    first: str  # the text before the first wildcard
    rest: tuple[tuple[str, str], ...]  # each wildcard and the text behind it

    @classmethod
    def parse(cls, text: str) -> "NamePattern":
        """Read a pattern; InvalidInput for another."""
        first, *rest = re.split(r"(\{group\}|\*)", text)
        pairs = tuple(zip(rest[::2], rest[1::2], strict=True))
        if len(text) > MAX_PATTERN or text.count(GROUP) != 1 or any(not literal for _, literal in pairs[:-1]):
            raise InvalidInput(
                f"{text[:MAX_PATTERN]!r} says no group: write {GROUP} once where a file's name has the group's, * for "
                "anything else, and some text between two of them, such as {group}_frame_*.",
                "query/group_pattern",
            )
        return cls(first, pairs)

    def group_of(self, name: str) -> str:
        """Return the group in a file's name; "" if the name does not fit."""
        if not name.startswith(self.first):
            return ""
        group, at = "", len(self.first)
        for place, (wildcard, literal) in enumerate(self.rest, 1):
            is_last = place == len(self.rest)
            end = len(name) - len(literal) if is_last else name.find(literal, at)
            if end < at or not name.startswith(literal, end):
                return ""
            if wildcard == GROUP:
                group = name[at:end]
            at = end + len(literal)
        return group
