"""worker.augment: what another hand would have done, and nothing else."""

import pytest
import torch
from torch import Tensor

from worker import augment
from worker.augment import SETS


@pytest.fixture
def strokes() -> Tensor:
    """An upright bar left of the middle, n x 3 x size x size."""
    images = torch.zeros(16, 3, 32, 32)
    images[:, :, 6:26, 10:14] = 1
    return images


def test_none_changes_nothing(strokes: Tensor) -> None:
    assert SETS["none"](strokes) is strokes


def test_each_image_is_changed_by_itself_and_all_its_channels_alike(strokes: Tensor) -> None:
    changed = augment.digits(strokes)
    assert changed.shape == strokes.shape
    assert not torch.equal(changed[0], changed[1])
    assert torch.equal(changed[:, 0], changed[:, 2])


def test_the_ink_stays_and_stays_on_its_side(strokes: Tensor) -> None:
    changed = augment.digits(strokes)
    torch.testing.assert_close(changed.sum((1, 2, 3)), strokes.sum((1, 2, 3)), rtol=0.25, atol=0)
    assert (changed[..., :16].sum((1, 2, 3)) > 5 * changed[..., 16:].sum((1, 2, 3))).all()


def test_the_same_seed_gives_the_same_changes(strokes: Tensor) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        first = augment.digits(strokes)
        torch.manual_seed(7)
        assert torch.equal(first, augment.digits(strokes))
