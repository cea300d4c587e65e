"""worker.training.loss: smoothed labels, and classes that count the same."""

import math

import pytest
import torch
from torch import Tensor, nn

from worker.training.loss import balanced_class_weights, cross_entropy

COMMON, RARE = 81, 4  # photos to train on


def test_rare_classes_weigh_more_and_the_mean_over_all_images_is_one() -> None:
    labels = torch.tensor([0] * 6 + [1] * 2)
    weights = balanced_class_weights(labels, 2)
    assert weights.tolist() == pytest.approx([8 / 12, 2.0])
    assert weights[labels].mean().item() == pytest.approx(1.0)


def test_a_class_without_images_does_not_divide_by_zero() -> None:
    assert balanced_class_weights(torch.tensor([0, 0, 2]), 3).isfinite().all()


def test_an_image_weighs_what_its_own_class_weighs_however_its_label_is_smoothed() -> None:
    logits, labels, weights = torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]), torch.tensor([0.5, 3.0])

    def smoothed(difference: float) -> float:  # of the logits, right minus wrong; 0.2 is spread over both classes
        return 0.9 * math.log1p(math.exp(-difference)) + 0.1 * math.log1p(math.exp(difference))

    expected = (0.5 * smoothed(2.0) + 3.0 * smoothed(-1.0)) / 3.5
    assert cross_entropy(logits, labels, weights, 0.2).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_weights_or_without_smoothing_it_is_torchs_loss(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(20, 3, generator=generator), torch.arange(20) % 3
    weights = None if smoothing else torch.tensor([1.0, 2.0, 4.0])
    own = nn.functional.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)
    assert cross_entropy(logits, labels, weights, smoothing).item() == pytest.approx(own.item(), rel=1e-5)


def features(common: int, rare: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two clouds of points that overlap a little."""
    labels = torch.tensor([0] * common + [1] * rare)
    centres = torch.where(labels[:, None] == 0, -1.0, 1.0) * torch.tensor([1.5, 0.0])
    return centres + torch.randn(len(labels), 2, generator=torch.Generator().manual_seed(seed)), labels


def test_balanced_weights_do_not_favour_the_rare_class_where_labels_are_smoothed() -> None:
    inputs, labels = features(COMMON, RARE, seed=0)
    weights = balanced_class_weights(labels, 2)
    head = nn.Linear(2, 2)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=100)

    def closure() -> float:
        optimizer.zero_grad()
        loss = cross_entropy(head(inputs), labels, weights, 0.1)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    unseen, truth = features(500, 500, seed=1)
    answers = head(unseen).argmax(1)
    found = [(answers[truth == label] == label).float().mean().item() for label in (0, 1)]
    assert min(found) > 0.85, found
