"""core.ids: names that sort by age and never meet."""

import pytest

from core import ids
from core.ids import new_id
from core.recipes.recipe import Recipe
from tests.conftest import NOW


def test_ids_sort_by_age() -> None:
    ages = [0.0, 1.0, NOW - 0.001, NOW, NOW + 0.001, NOW * 5]
    ids = [new_id("job", age) for age in ages]
    assert sorted(ids) == ids


def test_ids_of_the_same_moment_differ() -> None:
    assert len({new_id("job", NOW) for _ in range(1000)}) == 1000


def test_a_models_id_can_be_named_in_a_recipe() -> None:
    name = ids.model_id(new_id("job", NOW), 12)
    assert Recipe(weights=name).weights == name


def test_a_models_id_names_the_attempt_that_publishes_it() -> None:
    job_id = new_id("job", NOW)
    assert ids.publisher(ids.model_id(job_id, 12)) == (job_id, 12)


@pytest.mark.parametrize("name", ["", "model_", "model_1", "model_a_", "model_a_b", "ckpt_a_1", "model_a_1\n"])
def test_what_no_job_has_made_has_no_publisher(name: str) -> None:
    assert ids.publisher(name) is None
