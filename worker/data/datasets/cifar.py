"""CIFAR-10 and CIFAR-100: photos of 32x32 pixels, read from their binary form.

The Python form is pickled, and a pickle can run code. Source of the format and the checksums: Krizhevsky's page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import DatasetInvalid
from core.settings import Settings
from worker.data.datasets.dataset import Dataset, Images, Labels
from worker.data.formats.archives import read_files
from worker.data.sources import download, find

SIDE = 32
PIXELS = 3 * SIDE * SIDE
MAX_BYTES = 2**29  # limit of an archive's unpacked size, three times the real one


@dataclass(frozen=True)
class _Form:
    archive: str
    md5: str  # torchvision lists those of the pickled archives alone
    folder: str  # in the archive
    train: tuple[str, ...]
    test: str
    class_names: str
    label_bytes: int  # before the pixels; the last of them is the class


CIFAR10 = _Form(
    archive="cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test="test_batch.bin",
    class_names="batches.meta.txt",
    label_bytes=1,
)
CIFAR100 = _Form(
    archive="cifar-100-binary.tar.gz",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    folder="cifar-100-binary",
    train=("train.bin",),
    test="test.bin",
    class_names="fine_label_names.txt",
    label_bytes=2,  # one of 20 groups first
)


def load_cifar10(settings: Settings) -> Dataset:
    return _load("cifar10", CIFAR10, settings)


def load_cifar100(settings: Settings) -> Dataset:
    return _load("cifar100", CIFAR100, settings)


def _load(name: str, form: _Form, settings: Settings) -> Dataset:
    place, files = _files(name, form, settings)
    train_images, train_labels = _images(place, files, form.train, form.label_bytes)
    test_images, test_labels = _images(place, files, (form.test,), form.label_bytes)
    return Dataset(
        name=name,
        style="photo",
        detail=SIDE,
        classes=tuple(files[form.class_names].decode("utf-8", "replace").split()),
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )


def _files(name: str, form: _Form, settings: Settings) -> tuple[Path, Mapping[str, bytes]]:
    """Return the folder or archive of the files, and their bytes.

    The bytes are by file name.
    """
    names = (*form.train, form.test, form.class_names)
    folder = settings.resolved_datasets_dir / name
    for place in (folder / form.folder, folder):
        if all((place / file).is_file() for file in names):
            return place, {file: (place / file).read_bytes() for file in names}
    archive = find(folder, [form.archive]) or _download(name, form, settings)
    return archive, read_files(archive, names, MAX_BYTES)


def _images(place: Path, files: Mapping[str, bytes], names: tuple[str, ...], label_bytes: int) -> tuple[Images, Labels]:
    """Parse records of labels and of red, green and blue values.

    A record has its labels, then all red values row by row, all green and all blue.
    """
    record = label_bytes + PIXELS
    for name in names:
        if len(files[name]) % record or not files[name]:
            raise DatasetInvalid(f"{place / name} should hold records of {record} bytes: it has {len(files[name])}.")
    rows = np.frombuffer(b"".join(files[name] for name in names), np.uint8).reshape(-1, record)
    images = rows[:, label_bytes:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), rows[:, label_bytes - 1].astype(np.int64)


def _download(name: str, form: _Form, settings: Settings) -> Path:
    from torchvision import datasets  # imports torch: only when there is something to download

    url = f"{datasets.CIFAR10.url.rsplit('/', 1)[0]}/{form.archive}"  # the same host has all archives
    wanted = f"{form.archive} or its folder {form.folder} (the binary version: pickles are not read)"
    return download(name, [url], form.md5, wanted, settings)
