"""tuneserve.terminal: untrusted text only shows, and never controls the terminal.

It comes from a service or a file.
"""

import io

import pytest

from tuneserve.cli.tables import print_table
from tuneserve.terminal import Console, printable

HOSTILE = "cat\x1b[2J\x9b31m\u202egod\x07"
SHOWN = r"cat\x1b[2J\x9b31m\u202egod\x07"


def test_plain_text_is_left_alone() -> None:
    assert printable("Ünïcode 日本\n\ttab") == "Ünïcode 日本\n\ttab"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("file", [io.StringIO(), Terminal()], ids=["pipe", "terminal"])
def test_neither_lines_nor_tables_send_what_they_are_given(file: io.StringIO) -> None:
    console = Console(file=file, width=120, color_system=None)
    console.print(f"{HOSTILE}: 7", markup=False)
    print_table(console, ("name", "words"), [(HOSTILE, HOSTILE)])
    written = file.getvalue()
    assert written.count(SHOWN) == 3
    assert printable(written) == written
