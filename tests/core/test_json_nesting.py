"""core.json_nesting: nesting is counted before reading, as a parser would."""

import json
import random
from typing import Any

import pytest

from core.errors import InvalidInput
from core.json_nesting import nesting, refuse_deep


def levels(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(levels, inner), default=0)


def some_json(chance: random.Random, depth: int) -> Any:
    if depth == 0 or chance.random() < 0.2:
        return chance.choice((0, "[", "{{", '"[', "\\", '\\"]', "a\n", None, True, 1.5, "\u225b\u2222"))
    inner = [some_json(chance, depth - 1) for _ in range(chance.randrange(4))]
    return inner if chance.random() < 0.5 else {chance.choice(("a", "[", '"', "\\")): one for one in inner}


def test_the_levels_are_those_of_the_value() -> None:
    chance = random.Random(1)
    for _ in range(500):
        value = some_json(chance, 12)
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
            assert nesting(text.encode()) == levels(value), text


def test_what_is_no_json_is_counted_up_to_its_first_error() -> None:
    broken = {"": 0, "[": 1, '["[': 1, '["\\': 1, "[[[[ x": 4, "[" * 10**6: 10**6, "]]]]": 0, '[[\\"[[[[': 2}
    for text, count in broken.items():
        assert nesting(text.encode()) >= count, text[:20]


def test_eight_levels_pass_and_nine_do_not() -> None:
    refuse_deep(b"[" * 8 + b"]" * 8)
    with pytest.raises(InvalidInput, match="more than 8 levels"):
        refuse_deep(b"[" * 9 + b"]" * 9)
    with pytest.raises(InvalidInput, match="UTF-8"):
        refuse_deep("[[]]".encode("utf-16"))
