"""MNIST and its relatives: found on disk in any of their known layouts, or downloaded as torchvision does."""

from pathlib import Path
from urllib.error import URLError

import numpy as np

from core.errors import DatasetUnavailable
from core.settings import Settings
from worker.datasets.dataset import Dataset
from worker.datasets.idx import read_idx
from worker.download import fetch

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CHARACTERS = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def load_mnist(settings: Settings) -> Dataset:
    return _load("mnist", "MNIST", tuple(str(digit) for digit in range(10)), settings)


def load_fashion_mnist(settings: Settings) -> Dataset:
    return _load("fashion_mnist", "FashionMNIST", GARMENTS, settings)


def load_kmnist(settings: Settings) -> Dataset:
    return _load("kmnist", "KMNIST", CHARACTERS, settings)


def find(folder: Path, torchvision_name: str, file: str) -> Path | None:
    """A file by its canonical name, in any of the layouts in which people have it.

    Plain or gzipped beside each other, torchvision's ``<Name>/raw`` tree, and the Kaggle archive's
    ``train-images.idx3-ubyte``, there once plain and once inside a folder of its own name.
    """
    dotted = file.replace("-idx", ".idx")
    names = (
        file,
        f"{file}.gz",
        dotted,
        f"{dotted}.gz",
        f"{file}/{file}",
        f"{dotted}/{dotted}",
        f"{file}/{dotted}",
        f"{dotted}/{file}",
    )
    for root in (folder, folder / "raw", folder / torchvision_name / "raw"):
        for name in names:
            if (root / name).is_file():
                return root / name
    return None


def _load(name: str, torchvision_name: str, classes: tuple[str, ...], settings: Settings) -> Dataset:
    folder = settings.resolved_datasets_dir / name
    missing = [file for file in FILES if find(folder, torchvision_name, file) is None]
    if missing:
        _download(name, torchvision_name, missing, folder, settings)
    paths = [find(folder, torchvision_name, file) for file in FILES]
    train_images, train_labels, test_images, test_labels = (
        read_idx(path, 3 if "images" in file else 1)
        for path, file in zip(paths, FILES, strict=True)
        if path is not None
    )
    return Dataset(
        name=name,
        style="digit" if name == "mnist" else "plain",
        detail=28,
        classes=classes,
        train_images=train_images[..., None],
        train_labels=train_labels.astype(np.int64),
        test_images=test_images[..., None],
        test_labels=test_labels.astype(np.int64),
    )


def _download(name: str, torchvision_name: str, missing: list[str], folder: Path, settings: Settings) -> None:
    """Fetch the missing files with torchvision's checksums, from the mirror in the settings or torchvision's own."""
    from torchvision import datasets  # imports torch: only when there is something to download

    source: type[datasets.MNIST] = getattr(datasets, torchvision_name)
    md5s = dict(source.resources)
    mirrors = [f"{settings.datasets_mirror.rstrip('/')}/{name}"] if settings.datasets_mirror else source.mirrors
    for file in missing:
        try:
            urls = [f"{mirror.rstrip('/')}/{file}.gz" for mirror in mirrors]
            fetch(urls, folder / f"{file}.gz", "md5", md5s[f"{file}.gz"], settings.download_timeout_s)
        except URLError as error:
            raise DatasetUnavailable(
                f"{name} is not in {folder} and could not be downloaded: {error.reason}.",
                hint=f"Put {', '.join(f'{file}.gz' for file in FILES)} (or the unpacked files) into {folder}.",
            ) from error
