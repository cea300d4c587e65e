"""worker.attempt.auto_config: every ``auto`` decided."""

import math
from typing import Any

import pytest
import torch

from core.errors import DatasetInvalid, InvalidRecipe
from core.inference.network import build
from core.recipes.recipe import Recipe, ResolvedRecipe
from worker.attempt.auto_config import resolve
from worker.attempt.batch_size_search import Trial
from worker.training import devices
from worker.training.flops import without_the_uncounted

CPU = torch.device("cpu")


def resolved(train_samples: int = 54_000, detail: int = 28, style: str = "digit", **recipe: Any) -> ResolvedRecipe:
    return resolve(Recipe(**recipe), CPU, train_samples, detail, style)


def test_nothing_is_left_to_decide() -> None:
    assert "auto" not in resolved().model_dump().values()


def test_what_the_recipe_says_stands() -> None:
    said: dict[str, Any] = {
        "image_size": 48,
        "image_fit": "pad",
        "epochs": 7,
        "batch_size": 33,
        "learning_rate": 0.5,
        "augmentation": "none",
        "precision": "fp16",
        "ema": 0.5,
        "compile": True,
        "optimizer": "adam",
        "weight_decay": 0.1,
        "seed": 4,
        "metadata": {"who": "me"},
    }
    assert resolved(style="photo", **said).model_dump() == Recipe(**said).model_dump(exclude={"webhook", "preset"}) | {
        "device": "cpu"
    }


def test_small_images_stay_small_and_photos_are_cut_to_size() -> None:
    assert [resolved(detail=side).image_size for side in (8, 16, 28, 32)] == [24, 24, 32, 32]
    assert resolved(detail=33).image_size == 224


def test_small_images_are_enlarged_for_layers_that_know_photos_alone() -> None:
    def side(**recipe: Any) -> int:
        return resolved(detail=28, network="mobilenet_v2", **recipe).image_size

    assert side(freeze="backbone") == side(freeze="until:features.4") == 96
    assert side(freeze="backbone", unfreeze_after=1) == side(freeze="backbone", weights="model_1") == side() == 32
    assert resolved(detail=224, network="mobilenet_v2", freeze="backbone").image_size == 224


def test_digits_are_augmented_as_digits_and_what_is_plain_not_at_all() -> None:
    assert resolved(style="digit").augmentation == "digits"
    assert resolved(style="plain", dataset="rendered_sst2", epochs=100).augmentation == "none"


def test_garments_are_changed_as_photos_are() -> None:
    assert [resolved(style="plain", dataset="fashion_mnist", epochs=epochs).augmentation for epochs in (7, 8)] == [
        "flip",
        "photos",
    ]


def test_photos_are_not_shown_much_larger_than_they_are() -> None:
    def side(detail: int) -> int:
        return resolved(style="photo", detail=detail, network="efficientnet_b7").image_size

    assert [side(detail) for detail in (64, 224, 375, 599, 600, 2000)] == [224, 224, 352, 576, 600, 600]


def test_things_are_cut_to_a_square_signs_are_not_and_digits_have_their_own_form() -> None:
    assert [resolved(style=style).image_fit for style in ("photo", "plain", "digit")] == ["crop", "squash", None]
    with pytest.raises(InvalidRecipe, match="image_fit: digits are brought to MNIST's form"):
        resolved(style="digit", image_fit="pad")


def test_a_gpu_shows_small_pictures_larger_unless_they_are_digits() -> None:
    def side(style: str, detail: int = 28, **recipe: Any) -> int:
        return resolve(Recipe(**recipe), torch.device("cuda", 0), 54_000, detail, style).image_size

    assert (side("digit"), side("plain"), side("photo", 32), side("photo", 200)) == (32, 96, 96, 224)
    assert side("plain", network="vit_b_16") == 96
    assert side("plain", network="vit_b_32") == 128
    assert side("plain", image_size=48) == 48


def test_sgds_rate_grows_with_the_batch_no_further_than_it_was_seen_to_help() -> None:
    assert [resolved(batch_size=size, weights="random").learning_rate for size in (64, 128, 512)] == [0.05, 0.1, 0.1]


@pytest.mark.parametrize("dataset", ["kmnist", "svhn"])
def test_signs_are_changed_as_digits_are_and_so_never_mirrored(dataset: str) -> None:
    assert resolved(style="plain", dataset=dataset, epochs=100).augmentation == "digits"


def test_photos_are_augmented_once_they_are_seen_often_enough_to_be_known_by_heart() -> None:
    assert [resolved(style="photo", epochs=epochs).augmentation for epochs in (7, 8)] == ["flip", "photos"]
    assert resolved(162, style="photo").augmentation == "photos"  # few photos, many epochs


@pytest.mark.parametrize("style", ["digit", "photo"])
def test_images_in_front_of_a_frozen_part_stay_as_they_are_unless_the_recipe_says_otherwise(style: str) -> None:
    assert resolved(style=style, freeze="backbone", epochs=100).augmentation == "none"
    assert resolved(style=style, freeze="backbone", augmentation="photos").augmentation == "photos"


def test_images_are_augmented_where_an_early_cut_leaves_most_of_the_work_and_epochs_follow_the_cost() -> None:
    def recipe(freeze: str, **more: Any) -> ResolvedRecipe:
        return resolved(train_samples=162, detail=224, style="photo", network="resnet18", freeze=freeze, **more)

    early, late, backbone = (recipe(freeze) for freeze in ("until:layer1", "until:layer4", "backbone"))
    assert (early.augmentation, late.augmentation, backbone.augmentation) == ("photos", "none", "none")
    assert recipe("none").epochs <= early.epochs < 2 * recipe("none").epochs < late.epochs == backbone.epochs


@pytest.mark.parametrize(("style", "augmentation"), [("photo", "photos"), ("digit", "digits")])
def test_images_are_augmented_once_the_frozen_part_is_trained_too(style: str, augmentation: str) -> None:
    assert resolved(style=style, freeze="backbone", unfreeze_after=2, epochs=10).augmentation == augmentation
    few = resolved(style=style, freeze="backbone", unfreeze_after=3, epochs=10).augmentation
    assert few == ("flip" if style == "photo" else augmentation)  # seven epochs with it


# a small one of each family; the large ones shrink an image just as often
FAMILIES = """
alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5
mobilenet_v2 mobilenet_v3_small resnet18 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_0 squeezenet1_1 swin_t
swin_v2_t vgg11 vgg11_bn vit_b_16 vit_b_32 wide_resnet50_2
"""


def answers(network: str, built_for: int, side: int) -> torch.Size:
    """Return the shape of its answer to two images of that side, without the arithmetic."""
    with torch.device("meta"):
        shape: torch.Size = without_the_uncounted(build(network, 10, built_for))(torch.zeros(2, 3, side, side)).shape
    return shape


def test_a_network_gets_images_that_it_can_take() -> None:
    for network in FAMILIES.split():
        for side in {resolved(network=network, detail=detail).image_size for detail in (8, 28)}:
            assert answers(network, side, side) == (2, 10), network


def test_no_network_gets_larger_images_than_it_needs() -> None:
    needs = {"vgg11": 24, "densenet121": 24, "convnext_tiny": 24, "alexnet": 32, "inception_v3": 64, "vit_b_32": 32}
    for network, small in needs.items():
        with pytest.raises((RuntimeError, AssertionError), match=r"size|height"):
            answers(network, 224, small)


@pytest.mark.parametrize(("samples", "epochs"), [(1_293, 6), (20_000, 6), (40_000, 3), (54_000, 2), (10**7, 2)])
def test_large_sets_are_seen_less_often(samples: int, epochs: int) -> None:
    assert resolved(samples).epochs == epochs


def test_from_random_weights_a_small_set_is_seen_twice_as_often() -> None:
    assert resolved(1_293, weights="random").epochs == 12
    assert resolved(20_000, weights="random").epochs == 6
    assert resolved(1_293, weights="random", freeze="backbone").epochs == resolved(1_293, freeze="backbone").epochs


def test_small_sets_have_small_batches() -> None:
    assert (resolved(1_293).batch_size, resolved(54_000).batch_size) == (64, 128)


@pytest.mark.parametrize("asked", ["auto", 500])
def test_no_batch_is_larger_than_the_set(asked: str | int) -> None:
    assert resolved(10, batch_size=asked).batch_size == 10


def test_the_rate_follows_the_batch() -> None:
    assert resolved(weights="random", batch_size=128).learning_rate == pytest.approx(0.1)
    small, large = (resolved(optimizer="adamw", batch_size=size).learning_rate for size in (64, 256))
    assert large == pytest.approx(2 * small)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_weights_worth_keeping_are_changed_more_gently(optimizer: str) -> None:
    rates = [
        resolved(optimizer=optimizer, weights=weights).learning_rate for weights in ("imagenet", "model_1", "random")
    ]
    assert rates[0] == rates[1] < rates[2]


def test_a_new_head_behind_a_frozen_backbone_learns_as_fast_as_random_weights() -> None:
    rates = {
        (weights, freeze): resolved(weights=weights, freeze=freeze, batch_size=64).learning_rate
        for weights in ("imagenet", "model_1", "random")
        for freeze in ("backbone", "until:layer3")
    }
    assert rates["imagenet", "backbone"] == rates["random", "backbone"] > rates["imagenet", "until:layer3"]
    assert rates["model_1", "backbone"] == rates["imagenet", "backbone"]  # other classes: its head is new, too


def test_a_head_that_knows_its_classes_is_changed_gently() -> None:
    gentle = resolved(weights="model_1", freeze="none", batch_size=64).learning_rate
    recipe = Recipe(weights="model_1", freeze="backbone", batch_size=64)
    assert resolve(recipe, CPU, 54_000, 28, "digit", knows_classes=True).learning_rate == gentle


def test_the_precision_is_the_devices_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "best_precision", lambda device: "bf16" if device == CPU else "fp16")
    assert resolved().precision == "bf16"


def test_the_device_is_the_one_chosen_and_not_the_one_asked_for() -> None:
    assert resolve(Recipe(device="cuda"), torch.device("cuda", 1), 100, 28, "plain").device == "cuda:1"


@pytest.mark.parametrize(("network", "optimizer", "decay"), [("resnet50", "sgd", 5e-4), ("swin_t", "adamw", 0.05)])
def test_a_network_is_trained_with_what_suits_it(network: str, optimizer: str, decay: float) -> None:
    recipe = resolved(network=network)
    assert (recipe.optimizer, recipe.weight_decay) == (optimizer, decay)
    assert resolved(network=network, optimizer="adam", weight_decay=0.3).weight_decay == 0.3


def test_one_image_is_not_enough_to_train_on() -> None:
    with pytest.raises(DatasetInvalid, match="There are 1 images"):
        resolved(train_samples=1)


def test_a_part_that_would_thaw_after_the_last_epoch_is_refused_by_name() -> None:
    with pytest.raises(InvalidRecipe, match="unfreeze_after: there are 5 epochs; 5 leaves none"):
        resolved(freeze="backbone", epochs=5, unfreeze_after=5)
    assert resolved(freeze="backbone", epochs=5, unfreeze_after=4).unfreeze_after == 4


@pytest.mark.parametrize(("step_s", "compiles"), [(0.001, False), (0.1, True), (math.inf, False)])
def test_a_network_is_compiled_where_its_training_takes_minutes_on_a_gpu(
    step_s: float, compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "can_compile", lambda _device: True)
    monkeypatch.setattr(devices, "best_precision", lambda _device: "bf16")
    trial = Trial(256, step_s)
    done = resolve(Recipe(epochs=20), torch.device("cuda", 0), 54_000, 28, "digit", trial)  # 4,218 steps
    assert (done.batch_size, done.compile) == (256, compiles)
    told = Recipe(epochs=20, compile=not compiles, batch_size=64)
    stays = resolve(told, torch.device("cuda", 0), 54_000, 28, "digit", trial)
    assert (stays.batch_size, stays.compile) == (64, not compiles)


def test_nothing_is_compiled_where_no_step_was_timed() -> None:
    assert not resolved(epochs=10_000).compile
