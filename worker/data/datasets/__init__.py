"""Data sets by name; each loader returns canonical uint8 images."""

from collections.abc import Callable, Mapping

from core.errors import DatasetUnavailable
from core.settings import Settings
from worker.data.datasets import cifar, digits, emnist, folder, idx_folder, mnist, photo_archives, qmnist, svhn, usps
from worker.data.datasets.dataset import Dataset

LOADERS: Mapping[str, Callable[[Settings], Dataset]] = {
    "digits": digits.load,
    "mnist": mnist.load_mnist,
    "fashion_mnist": mnist.load_fashion_mnist,
    "kmnist": mnist.load_kmnist,
    "qmnist": qmnist.load,
    "emnist_digits": emnist.load_digits,
    "emnist_letters": emnist.load_letters,
    "usps": usps.load,
    "svhn": svhn.load,
    "cifar10": cifar.load_cifar10,
    "cifar100": cifar.load_cifar100,
}


def load(name: str, settings: Settings, choose: folder.Choose = folder.default_form) -> Dataset:
    """Load a built-in data set or a folder.

    DatasetUnavailable or DatasetInvalid if that fails. ``choose`` gives the form of photos that lie in files, once
    their sizes are known.
    """
    if name in LOADERS:
        return LOADERS[name](settings)
    if name in photo_archives.PHOTO_SETS:
        return photo_archives.load(name, settings, choose)
    if not (settings.resolved_datasets_dir / name).is_dir():
        raise DatasetUnavailable(
            f"There is no data set {name}.",
            hint=f"Put its images into {settings.resolved_datasets_dir / name}/<class>/.",
        )
    if idx_folder.is_one(name, settings):
        return idx_folder.load(name, settings)
    return folder.load(name, settings, choose)
