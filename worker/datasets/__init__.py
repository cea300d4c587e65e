"""Data sets by name. Each loader gives canonical uint8 images, ready for the network's half of the preparation."""

from collections.abc import Callable, Mapping

from core.settings import Settings
from worker.datasets import digits, mnist
from worker.datasets.dataset import Dataset

LOADERS: Mapping[str, Callable[[Settings], Dataset]] = {
    "digits": digits.load,
    "mnist": mnist.load_mnist,
    "fashion_mnist": mnist.load_fashion_mnist,
}


def load(name: str, settings: Settings) -> Dataset:
    """The data set of that name. DatasetUnavailable or DatasetInvalid says what is missing or wrong."""
    return LOADERS[name](settings)
