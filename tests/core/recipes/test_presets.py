"""core.recipes.presets: other defaults, that never change what is given."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.networks import EFFICIENTNET_LITE0
from core.recipes.recipe import Recipe

# of fields that the presets set or that go with those, values that are no default
GIVEN: list[dict[str, Any]] = [
    {"network": "resnet18"},
    {"weights": "random"},
    {"freeze": "none"},
    {"freeze": "until:blocks.1", "network": EFFICIENTNET_LITE0},
    {"freeze": "backbone", "unfreeze_after": 2},
    {"unfreeze_after": 2},
    {"epochs": 1},
    {"epochs": 2},
    {"epochs": 30},
    {"augmentation": "flip"},
    {"optimizer": "adamw", "learning_rate": 1e-3},
    {"label_smoothing": 0.0},
    {"validation_fraction": 0.0},
    {"early_stopping": None},
    {"batch_size": 16, "ema": 0.0, "momentum": 0.5, "gradient_clipping": 1.0},
    {"image_size": 128, "seed": 3, "class_weights": "balanced", "train_samples": 100},
]


def test_quick_fits_a_head_on_the_frozen_network_whose_weights_are_installed() -> None:
    quick = Recipe(preset="quick")
    assert (quick.network, quick.weights, quick.freeze) == (EFFICIENTNET_LITE0, "imagenet", "backbone")
    assert (quick.optimizer, quick.augmentation) == ("lbfgs", "none")


def test_accurate_trains_the_head_first_then_all_and_stops_early() -> None:
    accurate = Recipe(preset="accurate")
    assert accurate.freeze == "backbone"
    assert accurate.unfreeze_after is not None
    assert (accurate.augmentation, accurate.ema) == ("auto", "auto")
    assert accurate.early_stopping is not None


def test_what_is_given_is_never_changed_by_a_preset_nor_refused_for_it() -> None:
    for given in GIVEN:
        for preset in ("quick", "accurate"):
            recipe = Recipe.model_validate({"preset": preset, **given})
            assert {name: getattr(recipe, name) for name in given} == given


def test_a_recipe_without_a_preset_has_the_usual_defaults_and_unknown_presets_are_refused() -> None:
    assert Recipe().model_dump() == Recipe(preset=None).model_dump()
    with pytest.raises(ValidationError, match="quick"):
        Recipe.model_validate({"preset": "perfect"})


def test_a_stored_recipe_is_read_as_it_was_written() -> None:
    for preset in ("quick", "accurate"):
        recipe = Recipe.model_validate({"preset": preset, "freeze": "none"})
        assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_a_head_is_fitted_in_one_go_only_behind_a_backbone_that_stays_frozen() -> None:
    for field, given in {
        "optimizer": {"freeze": "none"},
        "augmentation": {"freeze": "backbone", "augmentation": "flip"},
    }.items():
        with pytest.raises(ValidationError) as refusal:
            Recipe.model_validate({"optimizer": "lbfgs", **given})
        assert [error["loc"] for error in refusal.value.errors()] == [(field,)]
    for more in ({"unfreeze_after": 1}, {"epochs": 2}):
        with pytest.raises(ValidationError, match="lbfgs"):
            Recipe.model_validate({"optimizer": "lbfgs", "freeze": "backbone", **more})
