"""A pattern says which part of a file's name is the group's."""

import pytest

from core.errors import InvalidInput
from service.datasets.layouts.name_groups import NamePattern


@pytest.mark.parametrize(
    ("pattern", "name", "group"),
    [
        ("{group}_frame_*", "burst_7_frame_001.jpg", "burst_7"),
        ("{group}_frame_*", "burst_7.jpg", ""),
        ("{group}_*", "a_b_c.jpg", "a"),
        ("*_{group}.*", "frame_a.b.jpg", "a"),
        ("IMG-{group}-*.jpg", "IMG-0042-a-b.jpg", "0042"),
        ("IMG-{group}-*.jpg", "IMG-0042-a.png", ""),
        ("IMG-{group}-*.jpg", "img-0042-a.jpg", ""),
        ("x{group}x", "x", ""),
        ("{group}", "a.jpg", "a.jpg"),
        ("*/{group}", "a.jpg", ""),
    ],
)
def test_a_name_that_fits_has_the_shortest_group_from_the_left(pattern: str, name: str, group: str) -> None:
    assert NamePattern.parse(pattern).group_of(name) == group


@pytest.mark.parametrize("pattern", ["", "frame_*", "{group}_{group}", "{group}*", "**{group}", "{group}" + "x" * 200])
def test_a_pattern_without_one_clear_group_is_refused_with_what_to_write(pattern: str) -> None:
    with pytest.raises(InvalidInput, match=r"write \{group\} once") as refusal:
        NamePattern.parse(pattern)
    assert refusal.value.pointer == "query/group_pattern"


def test_a_long_name_and_many_wildcards_take_no_long_time() -> None:
    pattern = NamePattern.parse("a*" * 60 + "b{group}c")
    assert not pattern.group_of("a" * 100_000)  # a matcher that backtracks runs into the test's timeout
