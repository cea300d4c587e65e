"""worker.publishing.int8_gate: int8 is refused for what is no chance, and not for less."""

import pytest
import torch

from worker.publishing.int8_gate import Comparison, compare

ACCURATE, AGREES, SHIFTS = "is less accurate", "answers fewer than 98% of the images as fp32 does", "shifts"


@pytest.mark.parametrize(
    ("images", "lost", "gained", "same", "shift", "objection"),
    [
        (110, 0, 0, 110, 0.002, None),
        (110, 1, 0, 109, 0.005, None),  # one image of a small set
        (110, 3, 1, 106, 0.01, None),
        (110, 5, 0, 105, 0.01, ACCURATE),
        (110, 5, 5, 97, 0.01, AGREES),  # as right, but not the same
        (3000, 3, 0, 2997, 0.001, None),
        (3000, 9, 1, 2990, 0.001, ACCURATE),
        (3000, 20, 25, 2950, 0.01, None),
        (3000, 40, 45, 2900, 0.01, AGREES),
        (3000, 0, 0, 3000, 0.03, SHIFTS),
        (3000, 0, 0, 3000, float("nan"), SHIFTS),
    ],
)
def test_an_objection_is_beyond_chance(
    images: int, lost: int, gained: int, same: int, shift: float, objection: str | None
) -> None:
    found = Comparison(images, images - 5, lost, gained, same, shift).objection
    assert found is None if objection is None else (found or "").startswith(objection)


def test_the_chance_is_that_of_a_sign_test() -> None:
    assert Comparison(100, 90, 0, 0, 100, 0).chance == 1
    assert Comparison(100, 90, 1, 0, 99, 0).chance == 0.5
    assert Comparison(100, 90, 3, 1, 96, 0).chance == 5 / 16
    assert Comparison(9000, 5000, 2000, 1000, 6000, 0).chance < 1e-70


def test_answers_are_counted_in_pairs() -> None:
    fp32 = torch.tensor([[9.0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]])
    int8 = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 9, 0], [9, 0, 0]])
    found = compare(fp32, int8, torch.tensor([0, 0, 2, 0]))
    assert (found.images, found.fp32_right, found.lost, found.gained, found.same) == (4, 2, 1, 1, 2)
    assert found.shift == pytest.approx(0.5, abs=0.001)
    assert found.record()["int8"] == 0.5
    assert found.counts.startswith("of 4 validation and training images 2 get the same answer, 1 only fp32")
