"""worker.data.datasets.digits: the data set that is always there."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from core.imaging.digits.mnist_format import centre_in_frame
from core.settings import Settings
from tests import ROOT
from worker.data.datasets.dataset import Dataset
from worker.data.datasets.digits import load

DIGEST = "8d1ccfdcc8e5804619ae52074932177810e5a96cf2b6c47265cacc62c27f2412"


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load(Settings())


def test_there_are_1437_to_train_on_and_360_to_test_with(digits: Dataset) -> None:
    assert digits.train_images.shape == (1437, 28, 28, 1)
    assert digits.test_images.shape == (360, 28, 28, 1)
    assert np.asarray(digits.train_images).dtype == np.asarray(digits.test_images).dtype == np.uint8
    assert digits.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def test_every_digit_is_tested_alike(digits: Dataset) -> None:
    counts = np.bincount(digits.test_labels)
    assert len(counts) == 10
    assert counts.max() - counts.min() <= 2


def test_no_test_image_is_also_trained_on(digits: Dataset) -> None:
    trained = {image.tobytes() for image in np.asarray(digits.train_images)}
    assert not [image for image in np.asarray(digits.test_images) if image.tobytes() in trained]


def test_the_digits_have_the_form_of_mnist(digits: Dataset) -> None:
    images = np.asarray(digits.train_images)
    ink = images[..., 0] > 0
    edge = np.concatenate([ink[:, 0], ink[:, -1], ink[:, :, 0], ink[:, :, -1]], axis=1)
    assert not edge.any()
    sides = np.maximum(ink.any(2).sum(1), ink.any(1).sum(1))
    assert sides.max() <= 20
    assert (images.max((1, 2, 3)) == 255).all()


def test_they_are_the_same_ones_every_time(digits: Dataset) -> None:
    assert digits.digest == DIGEST


def test_they_are_scikit_learns_own_split_alike_by_class(digits: Dataset) -> None:
    source = load_digits()
    parted = train_test_split(np.arange(1797), test_size=360, random_state=0, stratify=source.target)
    train, test = map(np.sort, parted)
    assert digits.test_labels.tolist() == source.target[test].tolist()
    assert digits.train_labels.tolist() == source.target[train].tolist()
    first = centre_in_frame(source.images[test[0]] / 16)
    assert np.array_equal(np.asarray(digits.test_images)[0], first)


def test_they_are_there_without_scikit_learn() -> None:
    program = "import sys; sys.modules['sklearn'] = None; from core.settings import Settings; "
    program += "from worker.data.datasets.digits import load; load(Settings())"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
