"""worker.data.datasets.cifar: the binary form, packed or unpacked. Nothing is unpickled."""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torchvision

from core.errors import DatasetInvalid, DatasetUnavailable
from core.imaging.preparation import Preparation, from_array, prepare
from core.settings import Settings
from tests.support.datafiles import md5, tar_gz
from tests.support.webfolder import NOBODY, served
from worker.data.datasets import cifar, load

PLANES = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), np.uint8)  # images, colours, rows, columns
TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FINE = [f"fine_{number}" for number in range(100)]


def records(planes: np.ndarray, *labels: list[int]) -> bytes:
    return np.concatenate([np.array(labels, np.uint8).T, planes.reshape(len(planes), -1)], axis=1).tobytes()


CIFAR10 = {
    **{f"cifar-10-batches-bin/data_batch_{n + 1}.bin": records(PLANES[2 * n : 2 * n + 2], [n, 9]) for n in range(5)},
    "cifar-10-batches-bin/test_batch.bin": records(PLANES[10:], [3, 8]),
    "cifar-10-batches-bin/batches.meta.txt": "\n".join(TEN).encode() + b"\n\n",
    "cifar-10-batches-bin/readme.html": b"<html>",
}
CIFAR100 = {
    "cifar-100-binary/train.bin": records(PLANES[:10], [19] * 10, list(range(90, 100))),
    "cifar-100-binary/test.bin": records(PLANES[10:], [1, 2], [7, 99]),
    "cifar-100-binary/fine_label_names.txt": "\n".join(FINE).encode(),
    "cifar-100-binary/coarse_label_names.txt": b"fish\nflowers",
}


@pytest.fixture
def folder(settings: Settings) -> Path:
    where = settings.resolved_datasets_dir / "cifar10"
    where.mkdir(parents=True)
    return where


def lay_out(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


LAYOUTS: Mapping[str, Mapping[str, bytes]] = {
    "packed": {"cifar-10-binary.tar.gz": tar_gz(CIFAR10)},
    "unpacked": CIFAR10,
    "the files alone": {name.split("/")[1]: data for name, data in CIFAR10.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_images_in_their_order(settings: Settings, folder: Path, layout: str) -> None:
    lay_out(folder, LAYOUTS[layout])
    data = load("cifar10", settings)
    np.testing.assert_array_equal(data.train_images, PLANES[:10].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(data.test_images, PLANES[10:].transpose(0, 2, 3, 1))
    assert data.train_labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert [data.classes[label] for label in data.test_labels] == ["cat", "ship"]
    assert (data.style, data.detail) == ("photo", 32)


def test_the_hundred_classes_are_the_fine_ones(settings: Settings) -> None:
    lay_out(settings.resolved_datasets_dir / "cifar100", {"cifar-100-binary.tar.gz": tar_gz(CIFAR100)})
    data = load("cifar100", settings)
    assert data.classes == tuple(FINE)
    assert data.train_labels.tolist() == list(range(90, 100))
    assert data.test_labels.tolist() == [7, 99]
    np.testing.assert_array_equal(data.test_images, PLANES[10:].transpose(0, 2, 3, 1))


def test_a_picture_that_is_asked_about_is_cut_to_the_images_form(settings: Settings, folder: Path) -> None:
    lay_out(folder, CIFAR10)
    _, height, width, channels = load("cifar10", settings).train_images.shape
    assert channels == 3
    preparation = Preparation(
        style="photo",
        image_fit="crop",
        height=height,
        width=width,
        channels=3,
        image_size=32,
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    picture = from_array(np.pad(np.full((64, 64, 3), 200.0), ((0, 0), (32, 32), (0, 0))).tolist())
    assert (prepare(picture, preparation).pixels[:, 2:-2] == 200).all()  # the black at its sides is gone


@pytest.mark.parametrize("data", [b"", b"x" * 3072, records(PLANES[:2], [0, 1])[:-1]])
def test_a_file_of_broken_records_is_named(settings: Settings, folder: Path, data: bytes) -> None:
    lay_out(folder, CIFAR10 | {"cifar-10-batches-bin/data_batch_3.bin": data})
    with pytest.raises(DatasetInvalid, match=rf"data_batch_3\.bin should hold records of 3073.*{len(data)}"):
        load("cifar10", settings)


def test_a_truncated_archive_is_named(settings: Settings, folder: Path) -> None:
    (folder / "cifar-10-binary.tar.gz").write_bytes(tar_gz(CIFAR10)[:-100])
    with pytest.raises(DatasetInvalid, match=r"cifar-10-binary\.tar\.gz"):
        load("cifar10", settings)


def test_a_label_without_a_name_is_refused(settings: Settings, folder: Path) -> None:
    lay_out(folder, CIFAR10 | {"cifar-10-batches-bin/batches.meta.txt": b"airplane\nautomobile"})
    with pytest.raises(DatasetInvalid, match=r"label lies outside 0\.\.1"):
        load("cifar10", settings)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("a pickle was opened",)


def test_a_pickled_version_is_left_alone(settings: Settings, folder: Path) -> None:
    pickled = {f"cifar-10-batches-py/{name}": pickle.dumps(Bomb()) for name in ("data_batch_1", "batches.meta")}
    lay_out(folder, pickled | {"cifar-10-python.tar.gz": tar_gz(pickled)})
    with pytest.raises(DatasetUnavailable) as refusal:
        load("cifar10", settings.model_copy(update={"datasets_mirror": NOBODY}))
    assert "cifar-10-binary.tar.gz" in refusal.value.hint


def test_the_binary_archive_is_asked_for_where_torchvision_has_the_pickled_one(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tar_gz(CIFAR100)
    lay_out(tmp_path / "site", {"kriz/cifar-100-binary.tar.gz": archive})
    monkeypatch.setattr(cifar, "CIFAR100", replace(cifar.CIFAR100, md5=md5(archive)))
    with served(tmp_path / "site") as address:
        monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", f"{address}/kriz/cifar-10-python.tar.gz")
        data = load("cifar100", settings)
    assert load("cifar100", settings).digest == data.digest  # the second time from the disk
