"""worker.ood.synthetic_outliers and worker.ood.synthetic_strokes: made-up images in the form that the service gives to
real ones.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from core.imaging.digits.mnist_format import CENTRE, DIGIT_BOX, centre_in_frame
from core.inference.ood_score import grey
from core.settings import Settings
from worker.data.datasets import load
from worker.ood.synthetic_letters import letters
from worker.ood.synthetic_outliers import KINDS, LETTERS, _jigsaw, _pairs, formed, outliers
from worker.ood.synthetic_strokes import glyphs


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return grey(torch.as_tensor(load("digits", Settings()).test_images[:200]))[:, 0]


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.as_tensor(load("digits", Settings()).test_labels[:200])


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def centres(images: Tensor) -> Tensor:
    """Row and column of the mass, n x 2."""
    places, mass = torch.arange(28.0), images.sum((1, 2)).clamp_min(1e-6)
    return torch.stack([images.sum(dim) @ places / mass for dim in (2, 1)], 1)


def boxes(images: Tensor) -> Tensor:
    """The longer side of what is inked, n."""
    sides = [
        (ink * torch.arange(1, 29)).amax(1) - (29 - (ink * torch.arange(28, 0, -1)).amax(1)) + 1
        for ink in ((images > 0.15).any(dim) for dim in (1, 2))
    ]
    return torch.maximum(*sides)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 7, 40])
def test_each_kind_gives_an_image_for_an_image(kind: str, count: int, digits: Tensor, labels: Tensor) -> None:
    rows, others = _pairs(labels, count)
    made = KINDS[kind][1](digits[rows], digits[others])
    assert made.shape == (count, 28, 28)
    assert made.isfinite().all()
    assert made.min() >= 0
    assert made.max() <= 1 + 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_gives_the_images_themselves(kind: str, digits: Tensor, labels: Tensor) -> None:
    rows, others = _pairs(labels, 60)
    made = KINDS[kind][1](digits[rows], digits[others])
    changed = (made - digits[rows]).square().mean((1, 2)) > 1e-3
    assert changed.double().mean() > 0.9


def test_all_kinds_together_are_as_many_as_wanted(digits: Tensor, labels: Tensor) -> None:
    assert sum(share for share, _ in KINDS.values()) == pytest.approx(1)
    assert len(outliers(digits, labels, 2_000)) == 2_000


def test_letters_are_their_share_where_they_are_wanted(digits: Tensor, labels: Tensor) -> None:
    made = outliers(digits, labels, 1_000, with_letters=True)
    assert len(made) == 1_000
    torch.manual_seed(0)
    share = round(LETTERS * 1_000)
    assert torch.equal(made[:share], letters(share))


def test_the_same_seed_makes_the_same_and_another_others(digits: Tensor, labels: Tensor) -> None:
    def made(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return outliers(digits, labels, 200)

    assert torch.equal(made(1), made(1))
    assert not torch.equal(made(1), made(2))


def test_glyphs_are_in_mnists_form() -> None:
    made = glyphs(700)
    assert len(made) == 700
    assert ((boxes(made) - DIGIT_BOX).abs() <= 1).double().mean() > 0.9
    assert ((centres(made) - CENTRE).abs() < 1).all(1).double().mean() > 0.9


def test_glyphs_differ_from_one_another() -> None:
    made = glyphs(100).flatten(1)
    assert torch.cdist(made, made).fill_diagonal_(torch.inf).min() > 1


def test_what_is_formed_here_is_what_the_service_would_have_made_of_it(digits: Tensor) -> None:
    small = torch.nn.functional.pad(digits[:50, 4:24, 4:24] * 0.6, (1, 7, 6, 2))
    differences = []
    for image, own in zip(small.numpy(), formed(small).numpy(), strict=True):
        rows, columns = (np.flatnonzero((image > 0.15).any(axis)) for axis in (1, 0))
        ink = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        differences.append(np.abs(centre_in_frame(ink)[..., 0] / 255 - own).mean())
    assert np.mean(differences) < 0.03
    assert max(differences) < 0.1  # a middle that is rounded to the next pixel


def test_paper_without_ink_stays_so() -> None:
    assert torch.equal(formed(torch.zeros(2, 28, 28)), torch.zeros(2, 28, 28))


def test_a_pair_is_of_two_classes(labels: Tensor) -> None:
    rows, others = _pairs(labels, 1_000)
    assert (labels[rows] == labels[others]).double().mean() < 0.01


def test_with_one_class_a_pair_is_of_it() -> None:
    rows, others = _pairs(torch.zeros(5, dtype=torch.int64), 10)
    assert len(rows) == len(others) == 10


def test_a_jigsaw_loses_no_piece(digits: Tensor) -> None:
    made = _jigsaw(digits, 4)
    torch.testing.assert_close(made.sum((1, 2)), digits.sum((1, 2)))
    assert not torch.equal(made, digits)
