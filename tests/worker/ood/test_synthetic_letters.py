"""worker.ood.synthetic_letters: letters and digits as a hand might write them."""

import pytest
import torch
from torch import Tensor

from core.imaging.digits.mnist_format import CENTRE, DIGIT_BOX
from tests.worker.ood.test_synthetic_outliers import boxes, centres
from worker.ood import synthetic_letters as module
from worker.ood.synthetic_letters import PIECES, digits, letters


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def written() -> Tensor:
    """Every letter of every font once."""
    lines, strokes = module._known(tuple(module.LETTERS.items()))
    return module._drawn(lines, strokes, torch.arange(len(lines)))


def test_letters_are_in_mnists_form() -> None:
    made = letters(700)
    assert made.shape == (700, 28, 28)
    assert made.min() >= 0
    assert made.max() <= 1
    assert ((boxes(made) - DIGIT_BOX).abs() <= 1).double().mean() > 0.9
    assert ((centres(made) - CENTRE).abs() < 1).all(1).double().mean() > 0.9


def test_no_letter_is_written_twice_alike() -> None:
    assert (written() - written()).square().mean((1, 2)).min() > 1e-3


def test_what_is_written_is_still_that_letter() -> None:
    """Written once more, it is among the twenty nearest of all, of which chance would find one in eighteen."""
    first, second = (images.flatten(1) for images in (written(), written()))
    nearest = torch.cdist(first, second).topk(20, largest=False).indices
    found = (nearest == torch.arange(len(first))[:, None]).any(1)
    assert found.double().mean() > 0.5


def test_the_same_seed_writes_the_same() -> None:
    first = letters(20)
    torch.manual_seed(0)
    assert torch.equal(letters(20), first)


def test_digits_come_with_their_places_among_those_asked_for() -> None:
    images, places = digits("71", 400)
    assert images.shape == (400, 28, 28)
    assert set(places.tolist()) == {0, 1}
    widths = (images > 0.5).any(1).sum(1).double()
    assert widths[places == 0].mean() > widths[places == 1].mean() + 2


@pytest.mark.parametrize("font", module.LETTERS)
def test_what_hands_write_like_a_digit_is_no_letter_here(font: str) -> None:
    assert not set(module.LETTERS[font]) & set("OoIlSsgq")


def test_a_sign_is_cut_in_pieces_that_follow_its_lines() -> None:
    pieces = module._cut([[(0.0, 0.0), (8.0, 0.0)], [(3.0, 1.0), (3.0, 5.0)]])
    assert len(pieces) == PIECES
    assert sum(abs(end[0] - begin[0]) + abs(end[1] - begin[1]) for _, begin, end in pieces) == pytest.approx(12)
    assert {number for number, _, _ in pieces} == {0, 1}
    assert all(y == 0 for number, *ends in pieces if number == 0 for _, y in ends)
