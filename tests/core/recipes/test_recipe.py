"""core.recipes.recipe: what a body may say, and what its errors tell."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.networks import TOO_LARGE
from core.recipes.recipe import Recipe, ResolvedRecipe


def refused(**fields: Any) -> list[tuple[str, str]]:
    """Return field and message of everything that is wrong."""
    with pytest.raises(ValidationError) as refusal:
        Recipe(**fields)
    return [(str(error["loc"][0]), error["msg"]) for error in refusal.value.errors()]


def test_an_empty_recipe_is_valid_and_complete() -> None:
    recipe = Recipe()
    assert (recipe.dataset, recipe.network, recipe.weights) == ("mnist", "resnet50", "imagenet")
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.device) == ("auto",) * 4


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(dataset="digits", epochs=3, learning_rate=0.1, metadata={"team": "a"})
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    ("field", "lowest", "highest"),
    [
        ("image_size", 16, 1024),
        ("epochs", 1, 10_000),
        ("batch_size", 2, 65_536),
        ("seed", 0, 2**31 - 1),
        ("max_attempts", 1, 100),
    ],
)
def test_a_whole_number_has_bounds_and_both_belong_to_it(field: str, lowest: int, highest: int) -> None:
    for value in (lowest, highest):
        assert getattr(Recipe(**{field: value}), field) == value
    for value in (lowest - 1, highest + 1):
        assert {name for name, _ in refused(**{field: value})} == {field}


@pytest.mark.parametrize(
    ("field", "allowed", "too_much"),
    [
        ("learning_rate", (1e-9, 100), (0, -1, 100.1)),
        ("momentum", (0, 0.999), (-0.1, 1)),
        ("weight_decay", (0, 1), (-0.1, 1.1)),
        ("warmup_fraction", (0, 1), (-0.1, 1.1)),
        ("label_smoothing", (0, 0.999), (-0.1, 1)),
        ("validation_fraction", (0, 0.5), (-0.1, 0.51)),
        ("train_samples", (2, None), (1, 0, -5)),
        ("name", ("x" * 200, ""), ("x" * 201,)),
        ("metadata", ({"k" * 64: "v" * 512}, {}), ({"k" * 65: ""}, {"k": "v" * 513}, {str(n): "" for n in range(17)})),
    ],
)
def test_every_other_field_has_bounds(field: str, allowed: tuple[Any, ...], too_much: tuple[Any, ...]) -> None:
    for value in allowed:
        assert getattr(Recipe(**{field: value}), field) == value
    for value in too_much:
        assert {name for name, _ in refused(**{field: value})} == {field}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer", "lion"),
        ("schedule", "linear"),
        ("precision", "int8"),
        ("device", "tpu"),
        ("device", "cuda:"),
        ("device", "cuda:1000"),
        ("device", "cpu\n"),
        ("weights", "Model_1"),
        ("weights", "model_../../etc"),
        ("weights", "pets/latest"),
        ("dataset", "../mnist"),
        ("network", "resnet51"),
    ],
)
def test_a_word_that_is_not_known_is_refused(field: str, value: str) -> None:
    assert {name for name, _ in refused(**{field: value})} == {field}


def test_a_model_has_the_name_of_its_data_unless_it_has_its_own() -> None:
    assert Recipe(dataset="pets").model_name == "pets"
    assert Recipe(dataset="pets", model="cats-2").model_name == "cats-2"


@pytest.mark.parametrize("name", ["Cats", "default", "imagenet", "model_1", "a/b", "a@b", "x" * 65, ""])
def test_a_name_that_models_cannot_have_is_refused(name: str) -> None:
    assert {field for field, _ in refused(model=name)} == {"model"}


@pytest.mark.parametrize("dataset", ["default", "model_cars"])
def test_data_whose_name_models_cannot_have_need_one(dataset: str) -> None:
    ((field, message),) = refused(dataset=dataset)
    assert (field, "is needed" in message) == ("model", True)
    assert Recipe(dataset=dataset, model="cars").model_name == "cars"


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:15"])
def test_devices_are_named_as_torch_names_them(device: str) -> None:
    assert Recipe(device=device).device == device


@pytest.mark.parametrize("devices", [0, 2, "all", None])
def test_a_job_has_one_device(devices: object) -> None:
    ((name, message),) = refused(devices=devices)
    assert (name, '"auto"' in message.replace("'", '"')) == ("devices", True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["learning_rate", "momentum", "weight_decay", "label_smoothing"])
def test_numbers_that_json_cannot_show_are_refused(field: str, value: float) -> None:
    assert {name for name, _ in refused(**{field: value})} == {field}


@pytest.mark.parametrize("field", ["epochs", "batch_size", "image_size", "learning_rate"])
def test_a_field_that_takes_a_number_or_auto_says_so(field: str) -> None:
    assert any('"auto"' in message for _, message in refused(**{field: -1}))
    assert any("'auto'" in message for _, message in refused(**{field: "many"}))


def test_a_field_that_does_not_exist_is_named() -> None:
    assert [name for name, _ in refused(epoch=3)] == ["epoch"]


def test_every_wrong_field_is_told_at_once() -> None:
    assert {name for name, _ in refused(dataset="X", seed=-1, momentum=2)} == {"dataset", "seed", "momentum"}


def test_a_mistyped_network_is_answered_with_its_likeness() -> None:
    ((_, message),) = refused(network="resnet5O")
    assert "did you mean" in message
    assert "resnet50" in message


def test_a_recipe_cannot_be_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Recipe(), "seed", 1)  # noqa: B010 - spelled so, since mypy refuses it too


def test_what_truly_ran_has_no_auto_left() -> None:
    with pytest.raises(ValidationError) as refusal:
        ResolvedRecipe.model_validate(Recipe().model_dump())
    undecided = {name for name, field in Recipe.model_fields.items() if field.default == "auto"}
    assert {error["loc"][0] for error in refusal.value.errors()} == undecided - {"device"}  # any name of a device


@pytest.mark.parametrize("network", TOO_LARGE)
def test_a_network_that_could_not_be_published_is_refused_before_it_is_trained(network: str) -> None:
    ((field, message),) = refused(network=network)
    assert field == "network"
    assert "2 GiB" in message


@pytest.mark.parametrize(
    ("network", "side", "reason"),
    [
        ("vgg11", 24, "vgg11 needs at least 32 pixels, not 24"),
        ("vit_b_32", 144, "vit_b_32 takes multiples of 32 pixels, not 144"),
    ],
)
def test_an_image_size_that_the_network_cannot_take_is_refused(network: str, side: int, reason: str) -> None:
    ((field, message),) = refused(network=network, image_size=side)
    assert (field, message) == ("image_size", f"Value error, {reason}")


def test_a_stage_that_the_network_does_not_have_is_answered_with_those_that_it_has() -> None:
    assert Recipe(network="resnet18", freeze="until:layer3").freeze == "until:layer3"
    ((field, message),) = refused(network="resnet18", freeze="until:layer9")
    assert field == "freeze"
    assert "conv1, bn1, relu, maxpool, layer1" in message


def test_one_wrong_network_is_one_error_however_many_fields_depend_on_it() -> None:
    assert [name for name, _ in refused(network="resnet51", freeze="until:layer9", image_size=16)] == ["network"]


@pytest.mark.parametrize(
    "fields", [{"name": "a\0b"}, {"metadata": {"a": "\0"}}, {"metadata": {"\0": "a"}}, {"name": "\ud800"}], ids=str
)
def test_text_that_no_database_can_hold_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"pattern|unicode|control"):
        Recipe(**fields)
