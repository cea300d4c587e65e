"""MNIST, Fashion-MNIST and KMNIST, from disk in any known layout, or downloaded."""

from pathlib import Path

from core.imaging.idx_format import FILES
from core.settings import Settings
from worker.data.datasets.dataset import Dataset
from worker.data.formats.idx_files import find_idx, read_images, read_labels
from worker.data.sources import download

DIGITS = tuple(str(digit) for digit in range(10))
CHARACTERS = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def load_mnist(settings: Settings) -> Dataset:
    return _load("mnist", "MNIST", DIGITS, settings)


def load_fashion_mnist(settings: Settings) -> Dataset:
    return _load("fashion_mnist", "FashionMNIST", GARMENTS, settings)


def load_kmnist(settings: Settings) -> Dataset:
    return _load("kmnist", "KMNIST", CHARACTERS, settings)


def _load(name: str, torchvision_name: str, classes: tuple[str, ...], settings: Settings) -> Dataset:
    paths = [_path(name, torchvision_name, file, settings) for file in FILES]
    train_images, train_labels, test_images, test_labels = paths
    return Dataset(
        name=name,
        style="digit" if name == "mnist" else "plain",
        detail=28,
        classes=classes,
        train_images=read_images(train_images),
        train_labels=read_labels(train_labels),
        test_images=read_images(test_images),
        test_labels=read_labels(test_labels),
    )


def _path(name: str, torchvision_name: str, file: str, settings: Settings) -> Path:
    folder = settings.resolved_datasets_dir / name
    return find_idx(folder, torchvision_name, file) or _download(name, torchvision_name, f"{file}.gz", settings)


def _download(name: str, torchvision_name: str, file: str, settings: Settings) -> Path:
    from torchvision import datasets  # imports torch: only when there is something to download

    source: type[datasets.MNIST] = getattr(datasets, torchvision_name)
    urls = [f"{mirror.rstrip('/')}/{file}" for mirror in source.mirrors]
    wanted = f"{', '.join(f'{file}.gz' for file in FILES)} (or the unpacked files)"
    return download(name, urls, dict(source.resources)[file], wanted, settings)
