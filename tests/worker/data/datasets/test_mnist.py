"""worker.data.datasets.mnist: found in any usual layout, or downloaded."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.errors import DatasetInvalid, DatasetUnavailable
from core.imaging.idx_format import FILES
from core.settings import Settings
from tests.support.webfolder import NOBODY, served
from worker.data.datasets.mnist import load_fashion_mnist, load_mnist

DOTTED = [file.replace("-idx", ".idx") for file in FILES]
LAYOUTS = {  # paths below <datasets_dir>/mnist, in the order of FILES, and whether the files are packed
    "gzipped": ([f"{file}.gz" for file in FILES], True),
    "plain": (list(FILES), False),
    "torchvision, gzipped": ([f"MNIST/raw/{file}.gz" for file in FILES], True),
    "torchvision, plain": ([f"MNIST/raw/{file}" for file in FILES], False),
    "torchvision, its folder renamed": ([f"raw/{file}" for file in FILES], False),
    "kaggle, dotted": (DOTTED, False),
    "kaggle, dotted and gzipped": ([f"{file}.gz" for file in DOTTED], True),
    "kaggle, in folders of their names": ([f"{file}/{file}" for file in DOTTED], False),
    "kaggle, folders with the plain names": ([f"{a}/{b}" for a, b in zip(FILES, DOTTED, strict=True)], False),
    "kaggle, plain in dotted folders": ([f"{b}/{a}" for a, b in zip(FILES, DOTTED, strict=True)], False),
    "packed under plain names": (list(FILES), True),
    "all mixed": ([f"{FILES[0]}.gz", DOTTED[1] + ".gz", f"MNIST/raw/{FILES[2]}.gz", f"raw/{FILES[3]}.gz"], True),
}


@pytest.fixture
def offline(tmp_path: Path) -> Settings:
    """Settings with a data set folder of their own and no downloads."""
    return Settings(data_dir=tmp_path / "data", datasets_dir=tmp_path / "sets", datasets_mirror=NOBODY)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """A real file of MNIST unpacked, once a module."""
    folder = tmp_path_factory.mktemp("plain")

    def unpack(packed: Path) -> Path:
        target = folder / packed.stem
        if not target.exists():
            target.write_bytes(gzip.decompress(packed.read_bytes()))
        return target

    return unpack


def lay_out(folder: Path, paths: list[str], sources: list[Path]) -> None:
    for path, source in zip(paths, sources, strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(source)


def sources(shared: Path, name: str = "mnist") -> list[Path]:
    return [shared / "data" / name / f"{file}.gz" for file in FILES]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_real_files_are_found_in_every_layout(
    offline: Settings, shared: Path, plain: Callable[[Path], Path], layout: str
) -> None:
    paths, packed = LAYOUTS[layout]
    files = sources(shared) if packed else [plain(file) for file in sources(shared)]
    lay_out(offline.resolved_datasets_dir / "mnist", paths, files)
    mnist = load_mnist(offline)
    assert mnist.train_images.shape == (60_000, 28, 28, 1)
    assert mnist.test_images.shape == (10_000, 28, 28, 1)
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_garments_are_found_the_same_way(offline: Settings, shared: Path) -> None:
    paths = [f"FashionMNIST/raw/{file}.gz" for file in FILES]
    lay_out(offline.resolved_datasets_dir / "fashion_mnist", paths, sources(shared, "fashion_mnist"))
    fashion = load_fashion_mnist(offline)
    assert (fashion.name, fashion.style) == ("fashion_mnist", "plain")
    assert fashion.classes[fashion.train_labels[0]] == "Ankle boot"
    assert np.bincount(fashion.train_labels).tolist() == [6_000] * 10
    assert len(fashion.test_images) == 10_000


def test_digits_are_drawn_and_garments_are_not(offline: Settings, shared: Path) -> None:
    lay_out(offline.resolved_datasets_dir / "mnist", [f"{file}.gz" for file in FILES], sources(shared))
    mnist = load_mnist(offline)
    assert (mnist.name, mnist.style) == ("mnist", "digit")
    assert mnist.classes == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


@pytest.mark.parametrize("broken", FILES)
def test_a_broken_file_is_named(offline: Settings, shared: Path, broken: str) -> None:
    folder = offline.resolved_datasets_dir / "mnist"
    lay_out(folder, [f"{file}.gz" for file in FILES], sources(shared))
    (folder / f"{broken}.gz").unlink()
    (folder / f"{broken}.gz").write_bytes((shared / "data" / "mnist" / f"{broken}.gz").read_bytes()[:-100])
    with pytest.raises(DatasetInvalid, match=broken):
        load_mnist(offline)


def test_labels_of_other_images_do_not_fit(offline: Settings, shared: Path) -> None:
    train_images, _, test_images, test_labels = sources(shared)
    paths = [f"{file}.gz" for file in FILES]
    lay_out(offline.resolved_datasets_dir / "mnist", paths, [train_images, test_labels, test_images, test_labels])
    with pytest.raises(DatasetInvalid, match="60000 train images and 10000 labels"):
        load_mnist(offline)


@pytest.mark.parametrize("mirror", [NOBODY, "file:///nonexistent", "/not/an/address"])
def test_without_files_and_mirror_the_hint_says_what_to_put_where(offline: Settings, mirror: str) -> None:
    with pytest.raises(DatasetUnavailable, match="mnist is not in") as refusal:
        load_mnist(offline.model_copy(update={"datasets_mirror": mirror}))
    assert mirror in str(refusal.value)
    assert str(offline.resolved_datasets_dir / "mnist") in refusal.value.hint
    assert all(f"{file}.gz" in refusal.value.hint for file in FILES)


@pytest.mark.parametrize("over", ["http", "file"])
def test_what_is_missing_is_downloaded_from_the_mirror(offline: Settings, shared: Path, over: str) -> None:
    folder = offline.resolved_datasets_dir / "mnist"
    lay_out(folder, [FILES[0]], sources(shared)[:1])
    with served(shared / "data") as address:
        mirror = address + "/" if over == "http" else (shared / "data").as_uri()
        mnist = load_mnist(offline.model_copy(update={"datasets_mirror": mirror}))
    assert len(mnist.train_images) == 60_000
    assert [path.name for path in folder.iterdir()] == [FILES[0]]  # that folder is only read
    downloaded = offline.downloaded_datasets_dir / "mnist"
    assert sorted(path.name for path in downloaded.iterdir()) == sorted(f"{file}.gz" for file in FILES[1:])
    assert load_mnist(offline).digest == mnist.digest  # the second time from the disk


def test_a_download_with_another_checksum_is_refused_and_leaves_nothing(offline: Settings, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror" / "mnist"
    mirror.mkdir(parents=True)
    for file in FILES:
        (mirror / f"{file}.gz").write_bytes(b"not what torchvision lists")
    with served(mirror.parent) as address, pytest.raises(DatasetUnavailable, match="md5 is"):
        load_mnist(offline.model_copy(update={"datasets_mirror": address}))
    assert list((offline.downloaded_datasets_dir / "mnist").iterdir()) == []
