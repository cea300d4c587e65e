"""core.imaging.digits.connected_components: connected marks, and which of them are the digit."""

import numpy as np
import numpy.typing as npt
import pytest

from core.imaging.digits.connected_components import find_components, find_digit

Mask = npt.NDArray[np.bool_]
SIDE = 100


def sheet(*boxes: tuple[int, int, int, int]) -> Mask:
    """Make a mask with boxes marked.

    A box goes from row to row and from column to column.
    """
    mask = np.zeros((SIDE, SIDE), np.bool_)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def digit(mask: Mask, values: npt.NDArray[np.float32] | None = None) -> tuple[Mask, int]:
    """Find the digit among components of contrast 100, or those given."""
    return find_digit(mask, mask.astype(np.float32) * 100 if values is None else values)


def colours(mask: Mask) -> int:
    """Count the marks by filling them one after the other."""
    left, count = {(int(row), int(column)) for row, column in np.argwhere(mask)}, 0
    while left:
        count, waiting = count + 1, [left.pop()]
        while waiting:
            row, column = waiting.pop()
            near = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & left
            left -= near
            waiting += near
    return count


@pytest.mark.parametrize("share", [0.05, 0.2, 0.35, 0.5, 0.8])
def test_marks_are_numbered_as_by_filling_them(share: float) -> None:
    for seed in range(5):
        mask = np.random.default_rng(seed).random((20, 31)) < share
        assert len(find_components(mask).area) == colours(mask)


def test_a_spiral_is_one_mark_and_two_rows_ends_are_two() -> None:
    spiral = sheet((10, 90, 10, 12), (88, 90, 10, 90), (20, 90, 88, 90), (20, 22, 20, 90), (20, 80, 20, 22))
    assert set(find_components(spiral).number) == {0}
    ends = sheet((10, 11, 90, 100), (11, 12, 0, 10))
    assert set(find_components(ends).number) == {0, 1}


def test_a_run_ends_with_its_row() -> None:
    found = find_components(np.array([[1, 1, 0], [0, 0, 0], [1, 0, 1]], np.bool_))
    assert found.number.tolist() == [0, 0, 1, 2]
    assert found.area.tolist() == [2, 1, 1]


def test_each_component_is_measured() -> None:
    found = find_components(sheet((10, 30, 20, 25), (0, 4, 50, 60)))
    assert found.area.tolist() == [40, 100]
    assert found.size.tolist() == [10, 20]
    assert found.top.tolist() == [0, 10]
    assert found.bottom.tolist() == [3, 29]
    assert found.left.tolist() == [50, 20]
    assert found.right.tolist() == [59, 24]


def test_the_largest_mark_and_its_parts_are_the_digit() -> None:
    stem, bar, speck, far = (30, 70, 40, 46), (24, 28, 40, 60), (80, 83, 5, 8), (5, 20, 90, 95)
    found = digit(sheet(stem, bar, speck, far))
    np.testing.assert_array_equal(found[0], sheet(stem, bar))
    assert found[1] == 2


def test_what_lies_along_the_edge_is_not_the_digit() -> None:
    table, seven = (0, SIDE, 0, 20), (30, 70, 50, 56)
    found = digit(sheet(table, seven))
    np.testing.assert_array_equal(found[0], sheet(seven))


def test_a_digit_that_fills_the_sheet_is_one() -> None:
    found = digit(sheet((0, SIDE, 45, 55)))
    assert found[1] == 0


def test_a_tiny_mark_is_no_digit() -> None:
    assert not digit(sheet((50, 51, 50, 52)))[0].any()


def test_a_pale_mark_beside_the_digit_is_no_part_of_it() -> None:
    stem, shade = sheet((30, 70, 40, 46)), sheet((30, 70, 50, 56))
    ink = (stem * 100 + shade * 40).astype(np.float32)
    np.testing.assert_array_equal(digit(stem | shade, ink)[0], stem)
