"""worker.publishing.publish: each model has the out-of-distribution score that its images allow."""

from typing import Any

import pytest
import torch
from torch import nn

from core.imaging.preparation import Preparation
from core.inference.network import Prepare
from core.recipes.recipe import ResolvedRecipe
from tests.support.fakes import DIGIT_PREPARATION
from worker.data.splits import Split, Splits
from worker.ood import fitting, nearest
from worker.ood.fitting import SampleOutputs
from worker.publishing.exported_network import fit_ood_score
from worker.publishing.samples import Samples
from worker.publishing.trained_network import TrainedNetwork

PHOTO = DIGIT_PREPARATION.model_copy(update={"style": "photo", "image_fit": "crop"})
FROZEN = {"freeze": "backbone"}
RECIPE = {"image_size": 32, "epochs": 1, "batch_size": 8, "learning_rate": 0.1, "augmentation": "none"}


def part(count: int) -> Split:
    images = torch.randint(0, 256, (count, 28, 28, 1), generator=torch.Generator().manual_seed(count)).byte()
    return Split(images, torch.arange(count) % 2)


def method(preparation: Preparation, validation: int, **recipe: Any) -> str | None:
    trained = TrainedNetwork(
        network=nn.Identity(),
        prepare=Prepare(preparation),
        preparation=preparation,
        splits=Splits(part(30), part(validation), part(2)),
        classes=("cat", "dog"),
        detail=28,
        recipe=ResolvedRecipe.model_validate(RECIPE | {"precision": "fp32", "device": "cpu"} | recipe),
        device=torch.device("cpu"),
        best={},
        history={},
        timing={},
    )
    train, answered = (look_at(each) for each in (trained.splits.train, trained.splits.validation))
    found: str | None = fit_ood_score(trained, Samples(train, answered, train)).record["method"]
    return found


def look_at(images: Split) -> SampleOutputs:
    features = images.some(range(len(images)))[:, ::7, ::7, 0].flatten(1).float()
    return SampleOutputs(images, features[:, :2], features)


@pytest.mark.parametrize(
    ("preparation", "validation", "recipe", "wanted"),
    [
        (PHOTO, 12, {}, nearest.METHOD),
        (PHOTO, 1, FROZEN, nearest.METHOD),
        (PHOTO, 1, {}, None),
        (PHOTO, 1, FROZEN | {"unfreeze_after": 1, "epochs": 2}, None),
        (PHOTO, 1, FROZEN | {"weights": "pets@best"}, None),  # its backbone may have learnt these very photos
        (DIGIT_PREPARATION, 12, FROZEN, fitting.METHOD),
        (DIGIT_PREPARATION, 1, FROZEN, nearest.METHOD),
        (DIGIT_PREPARATION, 1, {}, None),
    ],
)
def test_a_model_has_the_score_that_its_images_allow(
    preparation: Preparation, validation: int, recipe: dict[str, Any], wanted: str | None
) -> None:
    assert method(preparation, validation, **recipe) == wanted
