"""core.ids: names that sort by age and never meet."""

from core.ids import new_id
from core.recipe import Recipe
from tests.conftest import NOW


def test_ids_sort_by_age() -> None:
    ages = [0.0, 1.0, NOW - 0.001, NOW, NOW + 0.001, NOW * 5]
    ids = [new_id("job", age) for age in ages]
    assert sorted(ids) == ids


def test_ids_of_the_same_moment_differ() -> None:
    assert len({new_id("job", NOW) for _ in range(1000)}) == 1000


def test_a_models_id_can_be_named_in_a_recipe() -> None:
    name = new_id("model", NOW) + "_12"
    assert Recipe(weights=name).weights == name
