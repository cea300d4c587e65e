"""Recognise train, validation and test parts in names and table cells."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

Part = Literal["train", "test", "val"]
TRAIN_PARTS = ("train", "training")
TEST_PARTS = ("test", "testing")
VALIDATION_PARTS = ("val", "valid", "validation")  # the test part where there is no other
PARTS: Mapping[str, Part] = {
    **dict.fromkeys(TRAIN_PARTS, "train"),
    **dict.fromkeys(TEST_PARTS, "test"),
    **dict.fromkeys(VALIDATION_PARTS, "val"),
}
WORDS: Mapping[str, Part] = {  # in the order in which one of several is taken
    **PARTS,
    **dict.fromkeys(("trainset", "trainval", "trn"), "train"),
    **dict.fromkeys(("testset", "tst", "holdout", "eval", "evaluation", "privatetest"), "test"),
    **dict.fromkeys(("valset", "dev", "development", "publictest"), "val"),
}
NUMBERS: Mapping[str, Part] = {"0": "train", "1": "val", "2": "test"}  # Ludwig's, in a column
FOLDS = ("fold", "kfold")  # columns of cross-validation: their numbers say nothing of a test
YES, NO = ("1", "true", "t", "yes", "y"), ("0", "false", "f", "no", "n")
# beside the part's word in the name of a folder, these say nothing else
NEUTRAL = frozenset(("set", "data", "dataset", "image", "images", "img", "imgs", "photos", "pics", "samples", "split"))
UNDERSTOOD = "train, val (dev), test (holdout, eval), or 0, 1, 2 for these"
UNDERSTOOD_FLAG = "1, true, yes or 0, false, no"


def part_of_cell(value: str, column: str) -> Part | None:
    """Parse the part that a cell names; None if it names none.

    ``column`` is the header in lower case.
    """
    word = re.sub(r"[^a-z0-9]", "", value.lower())
    if not column.startswith("is_"):
        return WORDS.get(word) or (NUMBERS.get(word) if column not in FOLDS else None)
    flagged = WORDS[column.removeprefix("is_")]
    other: Part = "test" if flagged == "train" else "train"
    return flagged if word in YES else other if word in NO else None


def part_of_path(path: PurePosixPath) -> Part | None:
    """Find the part that a path's last telling name speaks of.

    The path is one of folders or of a table.
    """
    return next((part for name in reversed(path.parts) if (part := split_name(name)[0])), None)


def split_name(name: str) -> tuple[Part | None, frozenset[str]]:
    """Split a name into its part and its other words.

    The part is None if the words name none, or two.
    """
    words = _words(name)
    parts = {WORDS[word] for word in words if word in WORDS}
    return (parts.pop() if len(parts) == 1 else None), frozenset(word for word in words if word not in WORDS)


def _words(name: str) -> list[str]:
    """Split a name into its words: ``trainingSet_2`` has three."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+|\d+", spaced.lower())
