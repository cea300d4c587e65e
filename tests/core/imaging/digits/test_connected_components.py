"""core.imaging.digits.connected_components: connected marks, and which of them are the digit."""

import numpy as np
import numpy.typing as npt
import pytest

from core.imaging.digits.connected_components import digit_among, find_marks, find_runs, number_marks

Mask = npt.NDArray[np.bool_]
SIDE = 100


def sheet(*boxes: tuple[int, int, int, int]) -> Mask:
    """Marks from row to row and from column to column."""
    mask = np.zeros((SIDE, SIDE), np.bool_)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def digit(mask: Mask, values: npt.NDArray[np.float32] | None = None) -> tuple[Mask, int] | None:
    """Found among marks of contrast 100, or of those given."""
    dark = mask.astype(np.float32) * 100 if values is None else values
    return digit_among(mask, dark, strong=50, ruling=np.zeros_like(mask))


def numbers(mask: Mask) -> npt.NDArray[np.intp]:
    return number_marks(find_runs(mask), mask.shape[1])


def colours(mask: Mask) -> int:
    """Marks, counted by filling them one after the other."""
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
        assert numbers(mask).max() + 1 == colours(mask)


def test_a_spiral_is_one_mark_and_two_rows_ends_are_two() -> None:
    spiral = sheet((10, 90, 10, 12), (88, 90, 10, 90), (20, 90, 88, 90), (20, 22, 20, 90), (20, 80, 20, 22))
    assert set(numbers(spiral)) == {0}
    ends = sheet((10, 11, 90, 100), (11, 12, 0, 10))
    assert set(numbers(ends)) == {0, 1}


def test_runs_end_with_their_rows() -> None:
    runs = find_runs(np.array([[1, 1, 0], [0, 0, 1], [1, 0, 1]], np.bool_))
    assert runs.row.tolist() == [0, 1, 2, 2]
    assert runs.left.tolist() == [0, 2, 0, 2]
    assert runs.length.tolist() == [2, 1, 1, 1]


def test_each_mark_is_measured() -> None:
    mask = sheet((10, 30, 20, 25), (0, 4, 50, 60))
    marks = find_marks(mask, mask.astype(np.float32) * 7, ruling=sheet((0, 2, 0, SIDE)))
    assert marks.area.tolist() == [40, 100]
    assert marks.size.tolist() == [10, 20]
    assert marks.on_edge.tolist() == [10, 0]
    assert marks.on_ruling.tolist() == [0.5, 0]
    assert marks.contrast.tolist() == [7, 7]


def test_the_largest_mark_and_its_parts_are_the_digit() -> None:
    stem, bar, speck, far = (30, 70, 40, 46), (24, 28, 40, 60), (80, 83, 5, 8), (5, 20, 90, 95)
    found = digit(sheet(stem, bar, speck, far))
    assert found is not None
    np.testing.assert_array_equal(found[0], sheet(stem, bar))
    assert found[1] == 2


def test_what_lies_along_the_edge_is_not_the_digit() -> None:
    table, seven = (0, SIDE, 0, 20), (30, 70, 50, 56)
    found = digit(sheet(table, seven))
    assert found is not None
    np.testing.assert_array_equal(found[0], sheet(seven))


def test_a_digit_that_fills_the_sheet_is_one() -> None:
    found = digit(sheet((0, SIDE, 45, 55)))
    assert found is not None
    assert found[1] == 0


def test_marks_that_are_tiny_or_pale_are_no_digit() -> None:
    assert digit(sheet((50, 51, 50, 52))) is None
    seven = sheet((30, 70, 50, 56))
    assert digit(seven, seven.astype(np.float32) * 40) is None
