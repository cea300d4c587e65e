"""worker.data.datasets: data sets by name, and what one must be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.dataset_references import DATASETS
from core.errors import DatasetInvalid
from core.settings import Settings
from worker.data.datasets import LOADERS, load
from worker.data.datasets.dataset import Dataset
from worker.data.datasets.photo_archives import PHOTO_SETS

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1), np.uint8)


@pytest.fixture
def small() -> Dataset:
    return Dataset(
        name="small",
        style="plain",
        detail=4,
        classes=("cat", "dog"),
        train_images=IMAGES[:6],
        train_labels=np.array([0, 1, 0, 1, 0, 1]),
        test_images=IMAGES[6:],
        test_labels=np.array([0, 1]),
    )


def test_every_data_set_that_a_recipe_may_name_has_a_loader() -> None:
    assert {*LOADERS, *PHOTO_SETS} == set(DATASETS)


def test_a_data_set_is_loaded_by_its_name(tmp_path: Path) -> None:
    assert load("digits", Settings(data_dir=tmp_path)).name == "digits"


def test_images_without_labels_are_refused(small: Dataset) -> None:
    with pytest.raises(DatasetInvalid, match="6 train images and 5 labels"):
        replace(small, train_labels=small.train_labels[:5])


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_part_is_refused(small: Dataset, part: str) -> None:
    nothing = {f"{part}_images": small.train_images[:0], f"{part}_labels": small.train_labels[:0]}
    with pytest.raises(DatasetInvalid, match=f"small: 0 {part} images and 0 labels"):
        replace(small, **nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_names_no_class_is_refused(small: Dataset, label: int) -> None:
    with pytest.raises(DatasetInvalid, match=r"a test label lies outside 0\.\.1"):
        replace(small, test_labels=np.array([0, label]))


def test_the_same_data_has_the_same_digest(small: Dataset) -> None:
    assert small.digest == replace(small, name="other name", train_images=IMAGES[:6].copy()).digest
    assert len(small.digest) == 64


def test_every_change_of_the_data_changes_the_digest(small: Dataset) -> None:
    image = IMAGES[6:].copy()
    image[0, 0, 0, 0] ^= 1
    changed = (
        replace(small, test_images=image),
        replace(small, train_labels=small.train_labels[::-1].copy()),
        replace(small, classes=("dog", "cat")),
        replace(small, train_images=IMAGES[:6].reshape(6, 2, 8, 1)),
    )
    assert len({small.digest, *(data.digest for data in changed)}) == 5


def test_the_test_images_and_their_classes_alone_make_the_test_digest(small: Dataset) -> None:
    turned = replace(small, test_images=IMAGES[:5:-1], test_labels=small.test_labels[::-1].copy())
    more_training = replace(small, train_images=IMAGES[:4], train_labels=small.train_labels[:4])
    more_classes = replace(small, classes=("ant", "cat", "dog"), test_labels=small.test_labels + 1)
    for same in (turned, more_training, more_classes, replace(small, name="other name")):
        assert same.test_digest == small.test_digest
    image = IMAGES[6:].copy()
    image[0, 0, 0, 0] ^= 1
    others = (
        replace(small, test_images=image),
        replace(small, test_labels=small.test_labels[::-1].copy()),
        replace(small, test_images=IMAGES[5:], test_labels=np.array([1, 0, 1])),
        replace(small, test_images=np.repeat(IMAGES[6:], 2, 0), test_labels=np.array([0, 0, 1, 1])),
        replace(small, test_images=IMAGES[6:].reshape(2, 2, 8, 1), train_images=IMAGES[:6].reshape(6, 2, 8, 1)),
    )
    assert len({small.test_digest, *(data.test_digest for data in others)}) == 6
