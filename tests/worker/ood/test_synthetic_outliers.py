"""worker.ood.synthetic_outliers: made-up images in the service's form for real ones."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from core.imaging.digits.mnist_format import CENTRE, DIGIT_BOX, centre_in_frame
from core.inference.ood_score import grey
from core.settings import Settings
from worker.data.datasets import load
from worker.ood import synthetic_outliers as module
from worker.ood.synthetic_outliers import KINDS, LETTERS, _letters, _pairs, drawn_digits, formed, outliers


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return grey(torch.as_tensor(load("digits", Settings()).test_images[:200]))[:, 0]


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.as_tensor(load("digits", Settings()).test_labels[:200])


def signs(count: int) -> Tensor:
    return drawn_digits("0123456789", count)[0]


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
    assert len(outliers(digits, labels, 2_000, with_letters=True)) == 2_000


def test_letters_are_made_only_where_they_are_wanted(
    digits: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Letters are made only if wanted.

    They are marked, to be found again.
    """
    share, _ = KINDS["letters"]
    marked = dict(KINDS) | {"letters": (share, lambda images, _: torch.full_like(images, 0.5))}
    monkeypatch.setattr(module, "KINDS", marked)
    counts = [(outliers(digits, labels, 1_000, wanted) == 0.5).all(2).all(1).sum().item() for wanted in (True, False)]
    assert counts == [round(share / sum(share for share, _ in KINDS.values()) * 1_000), 0]


def test_the_same_seed_makes_the_same_and_another_others(digits: Tensor, labels: Tensor) -> None:
    def made(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return outliers(digits, labels, 200, with_letters=True)

    assert torch.equal(made(1), made(1))
    assert not torch.equal(made(1), made(2))


@pytest.mark.parametrize("draw", [lambda count: _letters(torch.zeros(count, 28, 28), torch.zeros(0)), signs])
def test_signs_are_in_mnists_form(draw: Callable[[int], Tensor]) -> None:
    made = draw(700)
    assert made.shape == (700, 28, 28)
    assert ((boxes(made) - DIGIT_BOX).abs() <= 1).double().mean() > 0.9
    assert ((centres(made) - CENTRE).abs() < 1).all(1).double().mean() > 0.9


def test_no_sign_is_drawn_twice_alike() -> None:
    made = signs(200).flatten(1)
    assert torch.cdist(made, made).fill_diagonal_(torch.inf).min() > 0.5


def test_drawn_digits_come_with_their_classes() -> None:
    images, places = drawn_digits("71", 400)
    assert images.shape == (400, 28, 28)
    assert set(places.tolist()) == {0, 1}
    widths = (images > 0.5).any(1).sum(1).double()
    assert widths[places == 0].mean() > widths[places == 1].mean() + 2


def test_a_drawn_digit_is_still_that_digit() -> None:
    """Most are nearest to the mean of their own class, of ten."""
    images, places = drawn_digits("0123456789", 1_000)
    means = torch.stack([images[places == digit].mean(0) for digit in range(10)]).flatten(1)
    assert (torch.cdist(images.flatten(1), means).argmin(1) == places).double().mean() > 0.6


def test_no_letter_looks_like_a_digit_that_hands_write() -> None:
    assert not set(LETTERS) & set("OoIlSsBbgiqZz0123456789")


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
