"""core.printable: names hold no character that is not seen."""

import sys
import unicodedata

import pytest

from core.printable import JOINERS, check_name, first_invisible

NOT_SEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_every_character_that_is_not_seen_is_refused_and_no_other() -> None:
    refused = {sign for sign in map(chr, range(sys.maxunicode + 1)) if first_invisible(f"a{sign}b")}
    assert refused == {sign for sign in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(sign) in NOT_SEEN}
    assert {"\x00", "\x1b", "\x9b", "\u202e", "\u200b", "\ufeff", "\u2028", "\U000e0041", *JOINERS} <= refused


def test_the_reason_shows_the_character_by_its_escape() -> None:
    for sign, escape in {"\x85": "x85", "\u202e": "u202e", "\U000e0041": "U000e0041"}.items():
        with pytest.raises(ValueError, match=rf"character \\{escape}$"):
            check_name(f"ok{sign}")


def test_what_people_write_is_a_name() -> None:
    for name in ("monday, 2nd try", "قطة", "猫", "cafe\u0301", "🐈", "a\u00a0b"):
        assert check_name(name) == name
