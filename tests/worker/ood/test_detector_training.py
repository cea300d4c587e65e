"""worker.ood.detector_training: the detector learns to tell digits from outliers."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from core.inference.ood_score import Detector, grey
from core.settings import Settings
from worker.data.datasets import load
from worker.data.splits import Split, Splits, split
from worker.ood import detector_training as module
from worker.ood.detector_training import can_train, train_detector
from worker.ood.synthetic_outliers import outliers


@pytest.fixture(scope="module")
def splits() -> Splits:
    return split(load("digits", Settings()), None, 0.2, seed=0)


@pytest.fixture(scope="module")
def few_steps() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STEPS", 80)
        patch.setattr(module, "OUTLIERS", 1_000)
        patch.setattr(module, "DRAWN_DIGITS", 200)
        yield patch


@pytest.fixture(scope="module")
def trained(splits: Splits, few_steps: pytest.MonkeyPatch) -> Detector:
    return train_detector(splits.train, "0123456789", seed=0)


def test_outliers_are_found_among_digits_it_has_not_seen(trained: Detector, splits: Splits) -> None:
    torch.manual_seed(7)
    digits = splits.test.some(range(len(splits.test)))
    made = outliers(grey(digits)[:, 0], splits.test.labels, 300, with_letters=True)
    with torch.inference_mode():
        own, others = trained(digits), trained((made * 255).byte()[..., None])
    limit = own.quantile(0.99)
    assert (others > limit).double().mean() > 0.6


def test_it_knows_the_classes_too(trained: Detector, splits: Splits) -> None:
    with torch.inference_mode():
        answers = trained.logits(grey(splits.test.some(range(len(splits.test)))))[:, :10].argmax(1)
    assert (answers == splits.test.labels).double().mean() > 0.8


@pytest.mark.usefixtures("few_steps")
def test_the_seed_decides_it_and_the_caller_s_chance_goes_on(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 3)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = train_detector(splits.train, "0123456789", seed=1).state_dict()
    assert torch.equal(torch.rand(3), expected)
    again, other = (train_detector(splits.train, "0123456789", seed=seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.usefixtures("few_steps")
def test_it_learns_in_bf16_too(splits: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("STEPS", 40), ("WARMUP_STEPS", 5), ("BATCH", 16)):  # slow on a processor that has no bf16
        monkeypatch.setattr(module, name, few)
    made = train_detector(splits.train, "0123456789", seed=0, precision="bf16")
    assert next(made.parameters()).dtype == torch.float32
    with torch.inference_mode():
        answers = made.logits(grey(splits.test.some(range(len(splits.test)))))[:, :10].argmax(1)
    assert (answers == splits.test.labels).double().mean() > 0.3


@pytest.mark.parametrize(
    ("classes", "are_outliers"),
    [
        ("0123456789", True),
        ("17", True),
        (("0", "1", "A", "b"), False),
        (("a", "b"), False),
        (("0", "1", "10"), False),
    ],
)
def test_letters_are_outliers_only_where_all_classes_are_digits(
    classes: Sequence[str], are_outliers: bool, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def recorded(images: Tensor, labels: Tensor, count: int, with_letters: bool) -> Tensor:
        asked.append(with_letters)
        return images[:100]

    for name, few in (("STEPS", 1), ("DRAWN_DIGITS", 50)):
        monkeypatch.setattr(module, name, few)
    monkeypatch.setattr(module, "outliers", recorded)
    part = Split(splits.train.some(range(100)), splits.train.labels[:100] % len(classes))
    trained = train_detector(part, classes, seed=0)
    assert asked == [are_outliers]
    assert trained.head.out_features == len(classes) + 1


def test_it_is_small() -> None:
    assert sum(value.nbytes for value in Detector(10).state_dict().values()) < 1_000_000


@pytest.mark.parametrize(
    ("count", "style", "enlarged", "expected"),
    [
        (2_000, "digit", False, True),
        (1_999, "digit", False, False),
        (2_000, "digit", True, False),
        (2_000, "plain", False, False),
        (2_000, "photo", False, False),
    ],
)
def test_many_images_in_mnist_s_form_are_needed(count: int, style: str, enlarged: bool, expected: bool) -> None:
    part = Split(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64))
    assert can_train(part, style, enlarged) is expected
