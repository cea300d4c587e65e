"""worker.ood.nearest: a photo that is like no training photo is abstained on."""

import pytest
import torch
from torch import Tensor

from core.inference.nearest_image import NearestImage, directions, leave_one_out
from worker.data.splits import Split
from worker.ood.fitting import SampleOutputs
from worker.ood.nearest import fit, limit, rank


def cloud(count: int, seed: int, middle: float = 3.0) -> Tensor:
    """Features around one direction of 16."""
    features = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    features[:, 0] += middle
    return features


def outputs(features: Tensor | None, count: int = 0) -> SampleOutputs:
    count = count if features is None else len(features)
    part = Split(torch.zeros(count, 1, 1, 3, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64))
    return SampleOutputs(part, torch.zeros(count, 2), features)


def test_each_image_is_compared_with_all_the_others() -> None:
    images = directions(cloud(7, seed=0))
    for place, distance in enumerate(leave_one_out(images)):
        others = NearestImage(torch.cat([images[:place], images[place + 1 :]]), torch.ones(()))
        assert distance.item() == pytest.approx(others.distances(images[place][None]).item(), abs=1e-6)


def test_the_threshold_is_the_tolerance_limit_of_the_tables() -> None:
    """Of so few images no more may lie beyond (Somerville 1958: 95 % of a population, with 95 % confidence)."""
    assert [rank(count) for count in (2, 40, 92, 93, 123, 124, 152, 153)] == [0, 0, 0, 1, 1, 2, 2, 3]
    assert limit(torch.arange(1.0, 94.0)).item() == 92
    assert limit(torch.zeros(50)).item() > 0  # of copies of one image


@pytest.mark.parametrize("count", [93, 180, 1000])
def test_at_most_one_in_twenty_of_the_same_kind_is_abstained_on_as_surely_as_it_says(count: int) -> None:
    seeds = range(100)
    limits = torch.stack([limit(torch.rand(count, generator=torch.Generator().manual_seed(seed))) for seed in seeds])
    assert (limits < 0.95).double().mean() <= 0.1  # of distances that are uniform, those above 0.95 are 5 %


def test_images_like_those_of_the_training_are_answered_and_others_are_not() -> None:
    fitted = fit(outputs(cloud(180, seed=0)), outputs(cloud(18, seed=1)), frozen=True)
    assert fitted.record["fitted_on"] == "180 training images, its threshold on 180 of them, each left out"
    assert isinstance(fitted.ood_scorer, NearestImage)
    assert fitted.validation_scores is not None

    def abstained(features: Tensor) -> float:
        assert fitted.ood_scorer is not None
        scores = fitted.ood_scorer(torch.zeros(0), 7 * features, torch.zeros(0))  # their length says nothing
        return float((scores > 1).double().mean())

    assert abstained(cloud(180, seed=0)) == 0
    assert abstained(cloud(500, seed=2)) < 0.05
    assert abstained(cloud(500, seed=3, middle=-6.0)) > 0.95


def test_features_that_were_trained_are_judged_by_images_that_were_not_trained_on() -> None:
    train, validation = outputs(0.01 * cloud(180, seed=0, middle=0) + torch.eye(16)[0]), outputs(cloud(50, seed=1))
    fitted = fit(train, validation, frozen=False)
    assert fitted.record["fitted_on"] == "180 training images, its threshold on 50 validation images"
    assert fitted.validation_scores is not None
    assert fitted.validation_scores.max().item() == pytest.approx(1)
    few = fit(train, outputs(cloud(9, seed=1)), frozen=False)
    assert few.record["reason"] == "9 validation images are fewer than 10"


def test_a_frozen_backbone_needs_two_images_and_no_validation_part() -> None:
    two = fit(outputs(cloud(2, seed=0)), outputs(torch.zeros(0, 16)), frozen=True)
    assert (two.ood_scorer is not None, two.validation_scores) == (True, None)
    assert (
        "1 training image" in fit(outputs(cloud(1, seed=0)), outputs(torch.zeros(0, 16)), frozen=True).record["reason"]
    )
    assert "not linear" in fit(outputs(None, 9), outputs(None, 9), frozen=True).record["reason"]


def test_an_int8_graphs_scores_have_a_threshold_that_is_as_much_higher_as_they_are() -> None:
    fitted = fit(outputs(cloud(180, seed=0)), outputs(cloud(18, seed=1)), frozen=True)
    assert fitted.validation_scores is not None
    assert fitted.limit_of(1.2 * fitted.validation_scores) == pytest.approx(1.2)
