"""worker.data.datasets.photo_archives: archives of class folders, fetched and unpacked once.

They are read as one's own folder is.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torchvision

from core.errors import DatasetInvalid, DatasetUnavailable
from core.settings import Settings
from tests.support.datafiles import md5, png, tar_gz, zipped
from tests.support.webfolder import NOBODY, served
from worker.data.datasets import load
from worker.data.datasets.dataset import Images
from worker.data.datasets.photo_archives import PHOTO_SETS
from worker.data.photo_files import Photos

TENCH, CHURCH = "n01440764", "n03028079"


def folders(top: str, parts: Mapping[str, int], classes: tuple[str, ...]) -> dict[str, bytes]:
    """Make pictures of each class in each part."""
    return {
        f"{top}{part}{name}/{number}.JPEG": png(number * 9)
        for part, count in parts.items()
        for name in classes
        for number in range(count)
    }


IMAGENETTE = folders("imagenette2-320/", {"train/": 3, "val/": 2}, (TENCH, CHURCH)) | {
    "imagenette2-320/noisy_imagenette.csv": b"path,noisy_labels_0",
    "imagenette2-320/val/.DS_Store": b"x",
}
EUROSAT = folders("2750/", {"": 5}, ("Forest", "River", "SeaLake"))
COUNTRY211 = folders("country211/", {"train/": 2, "valid/": 1, "test/": 2}, ("AD", "ZW"))
SENTENCES = folders("rendered-sst2/", {"train/": 2, "valid/": 1, "test/": 1}, ("negative", "positive"))
FOOD = {
    f"food-101/images/{name}/{number}.jpg": png(number * 9) for name in ("apple_pie", "waffles") for number in range(4)
}
FOOD_LISTS = {
    f"food-101/meta/{part}.json": json.dumps(
        {name: [f"{name}/{n}" for n in chosen] for name in ("waffles", "apple_pie")}
    )
    for part, chosen in {"train": (2, 0, 3), "test": (1,)}.items()
}
DTD = {f"dtd/images/{name}/{name}_{n}.jpg": png(n * 9) for name in ("banded", "woven") for n in range(3)}
DTD_LISTS = {
    f"dtd/labels/{part}{partition}.txt": "".join(
        f"{name}/{name}_{(n + partition) % 3}.jpg\n" for name in ("banded", "woven")
    )
    for n, part in enumerate(("train", "val", "test"))
    for partition in range(1, 11)
}
LISTED = {
    "food101": FOOD | {name: text.encode() for name, text in FOOD_LISTS.items()},
    "dtd": DTD | {"dtd/images/.directory": b"x"} | {name: text.encode() for name, text in DTD_LISTS.items()},
}
SETS = {  # name -> archive, its content, images for training (with those held back) and for the test, classes
    "imagenette": ("imagenette2-320.tgz", tar_gz(IMAGENETTE), 6, 4, ("tench", "church")),
    "eurosat": ("EuroSAT.zip", zipped(EUROSAT), 12, 3, ("Forest", "River", "SeaLake")),
    "country211": ("country211.tgz", tar_gz(COUNTRY211), 6, 4, ("AD", "ZW")),
    "rendered_sst2": ("rendered-sst2.tgz", tar_gz(SENTENCES), 6, 2, ("negative", "positive")),
    "food101": ("food-101.tar.gz", tar_gz(LISTED["food101"]), 6, 2, ("apple_pie", "waffles")),
    "dtd": ("dtd-r1.0.1.tar.gz", tar_gz(LISTED["dtd"]), 4, 2, ("banded", "woven")),
}


def lay_out(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.fixture
def offline(settings: Settings) -> Settings:
    return settings.model_copy(update={"datasets_mirror": NOBODY})


def test_an_archive_in_a_folder_that_is_only_read_is_unpacked_elsewhere(offline: Settings, tmp_path: Path) -> None:
    file, content, *_ = SETS["eurosat"]
    settings = offline.model_copy(update={"datasets_dir": tmp_path / "sets"})
    lay_out(tmp_path / "sets" / "eurosat", {file: content})
    digest = load("eurosat", settings).digest
    assert [path.name for path in (tmp_path / "sets" / "eurosat").iterdir()] == [file]
    (tmp_path / "sets" / "eurosat" / file).unlink()
    assert load("eurosat", settings).digest == digest  # unpacked once


def test_every_set_is_tried_here() -> None:
    assert set(SETS) == set(PHOTO_SETS)


@pytest.mark.parametrize("name", SETS)
def test_an_archive_in_the_folder_is_unpacked_once(offline: Settings, name: str) -> None:
    file, content, train, test, classes = SETS[name]
    folder = offline.resolved_datasets_dir / name
    lay_out(folder, {file: content})
    data = load(name, offline)
    assert (data.name, data.classes) == (name, classes)
    assert (len(data.train_labels), len(data.test_labels)) == (train, test)
    assert data.train_images.shape == (train, 224, 224, 3)
    (folder / file).unlink()
    assert load(name, offline).digest == data.digest


@pytest.mark.parametrize("name", SETS)
def test_a_missing_archive_is_fetched_from_the_mirror_with_torchvisions_checksum(
    settings: Settings, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, content, train, *_ = SETS[name]
    lay_out(tmp_path / "site" / name, {file: content})
    with served(tmp_path / "site") as address:
        mirrored = settings.model_copy(update={"datasets_mirror": address})
        with pytest.raises(DatasetUnavailable, match=f"md5 is {md5(content)}, not [0-9a-f]{{32}}"):
            load(name, mirrored)
        monkeypatch.setattr("worker.data.datasets.photo_archives.PHOTO_SETS", _with_checksum(name, md5(content)))
        assert len(load(name, mirrored).train_labels) == train


def _with_checksum(name: str, checksum: str) -> dict[str, object]:
    entry = PHOTO_SETS[name]
    return {name: replace(entry, source=lambda sets: (entry.source(sets)[0], checksum))}


@pytest.mark.parametrize("name", SETS)
def test_torchvision_knows_where_the_archive_is(name: str) -> None:
    url, checksum = PHOTO_SETS[name].source(torchvision.datasets)
    assert url.startswith("http")
    assert url.rsplit("/", 1)[1] == next(iter(PHOTO_SETS[name].archives)) == SETS[name][0]
    assert len(bytes.fromhex(checksum)) == 16


@pytest.mark.parametrize("name", SETS)
def test_nothing_there_and_nobody_to_ask_says_what_to_put_where(offline: Settings, name: str) -> None:
    with pytest.raises(DatasetUnavailable, match=f"{name} is not in") as refusal:
        load(name, offline)
    assert SETS[name][0] in refusal.value.hint
    assert str(offline.resolved_datasets_dir / name) in refusal.value.hint


def test_folders_of_ones_own_are_taken_as_they_are(offline: Settings) -> None:
    lay_out(offline.resolved_datasets_dir / "imagenette", folders("", {"train/": 2, "val/": 1}, (TENCH, "castle")))
    data = load("imagenette", offline)
    assert data.classes == ("castle", "tench")
    assert (len(data.train_labels), len(data.test_labels)) == (4, 2)


def numbers(images: Images | Photos) -> list[int]:
    """Return the pictures' numbers, in their order.

    Each picture is all of one grey, which is its number.
    """
    assert isinstance(images, np.ndarray)
    greys: list[int] = (images[:, 0, 0, 0] // 9).tolist()
    return greys


def test_the_sets_own_lists_say_what_is_for_the_test(offline: Settings) -> None:
    for name, files in LISTED.items():
        lay_out(offline.resolved_datasets_dir / name, files)
    food, textures = load("food101", offline), load("dtd", offline)
    assert food.train_labels.tolist() == [1, 1, 1, 0, 0, 0]  # in the order of the lists
    assert numbers(food.train_images) == [2, 0, 3] * 2
    assert numbers(food.test_images) == [1, 1]
    assert numbers(textures.test_images) == [0, 0]  # of the first partition


def test_a_list_that_names_no_photo_is_told(offline: Settings) -> None:
    folder = offline.resolved_datasets_dir / "dtd"
    lay_out(folder, LISTED["dtd"] | {"dtd/labels/test1.txt": b"banded/gone.jpg"})
    with pytest.raises(DatasetInvalid, match=r"gone\.jpg"):
        load("dtd", offline)
    (folder / "dtd/labels/test1.txt").unlink()
    with pytest.raises(DatasetInvalid, match=r"lists cannot be read: .*test1\.txt"):
        load("dtd", offline)


def test_a_smaller_edition_will_do(offline: Settings) -> None:
    edition = {name.replace("-320", "-160"): data for name, data in IMAGENETTE.items()}
    lay_out(offline.resolved_datasets_dir / "imagenette", {"imagenette2-160.tgz": tar_gz(edition)})
    assert load("imagenette", offline).classes == ("tench", "church")


def test_a_damaged_archive_is_named_and_never_looks_unpacked(offline: Settings) -> None:
    folder = offline.resolved_datasets_dir / "eurosat"
    lay_out(folder, {"EuroSAT.zip": zipped(EUROSAT)[:-30]})
    for _ in range(2):
        with pytest.raises(DatasetInvalid, match=r"EuroSAT\.zip"):
            load("eurosat", offline)
    assert [path.name for path in folder.iterdir()] == ["EuroSAT.zip"]


def test_what_a_killed_unpacking_left_is_not_taken_for_the_set(offline: Settings) -> None:
    half = {f".part-x/{name}": data for name, data in EUROSAT.items() if "Forest" not in name}
    lay_out(offline.resolved_datasets_dir / "eurosat", half | {"EuroSAT.zip": zipped(EUROSAT)})
    assert len(load("eurosat", offline).classes) == 3


def test_sentences_are_neither_cut_nor_mirrored_and_photos_are(offline: Settings) -> None:
    for name, (file, content, *_) in SETS.items():
        lay_out(offline.resolved_datasets_dir / name, {file: content})
    assert {name: load(name, offline).style for name in SETS} == {
        "imagenette": "photo",
        "eurosat": "photo",
        "country211": "photo",
        "rendered_sst2": "plain",
        "food101": "photo",
        "dtd": "photo",
    }
