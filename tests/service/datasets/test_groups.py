"""Images of one group, a column of the table, never come into two parts."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from core.artifacts.dataset_files import StoredImage, path_of
from core.errors import DatasetInvalid
from core.settings import Settings
from service.datasets.builder import Builder
from service.datasets.images import digest_of
from service.datasets.importer import read_list
from tests.service.datasets.conftest import Send, refused
from tests.support.builds import build_here
from tests.support.datafiles import zipped
from tests.support.setfiles import photo
from worker.data.datasets import uploaded
from worker.data.splits import split

ZIP = {"Content-Type": "application/zip"}
FRAMES = 3  # of a burst
Rows = Sequence[tuple[str, str, str]]  # class, group, part


def table(rows: Rows, column: str = "group") -> dict[str, bytes]:
    """Photos, and the table that names them."""
    lines = [f"{place}.png,{label},{group},{part}\n" for place, (label, group, part) in enumerate(rows)]
    header = f"filename,label,{column},split\n".replace(",split", ",split" if rows[0][2] else ",note")
    return {f"{place}.png": photo(place) for place in range(len(rows))} | {
        "labels.csv": (header + "".join(lines)).encode()
    }


def bursts(count: int, part: str = "") -> list[tuple[str, str, str]]:
    """Rows of two classes, each with that many bursts."""
    return [(label, f"{label}{number // FRAMES}", part) for label in "ab" for number in range(count * FRAMES)]


def placed(folder: Path, settings: Settings) -> list[StoredImage]:
    """Store an upload's files by content, as a version's are."""
    images = [replace(image, number=place) for place, image in enumerate(read_list(folder), 1)]
    for image in images:
        file = path_of(settings.dataset_files_dir, "pets", image.digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / image.part / image.label / image.file, file)
    return images


@pytest.mark.parametrize("column", ["group", "Group ID"])
def test_neither_the_test_part_nor_the_validation_part_divides_a_burst(
    send: Send, folder: Path, settings: Settings, column: str
) -> None:
    send(table(bursts(10), column))
    images = placed(folder, settings)
    data = uploaded.load("pets/1", images, settings)
    assert data.train_numbers is not None
    splits = split(data, None, 0.2, seed=1)
    assert splits.train.numbers is not None
    train, kept = set(splits.train.numbers.tolist()), set(data.train_numbers.tolist())
    parts = (train, kept - train, {image.number for image in images} - kept)
    assert [len(part) for part in parts] == [42, 6, 12]
    groups = [{image.group for image in images if image.number in part} for part in parts]
    assert sum(map(len, groups)) == len(set[str]().union(*groups)) == 20


def test_a_group_in_two_parts_is_refused_with_the_parts_named(send: Send) -> None:
    rows = [*bursts(2, "train"), *bursts(1, "test")]
    assert refused(send, table(rows)) == {"a0": "group_parts", "b0": "group_parts"}


def test_a_class_of_one_burst_needs_a_test_part(send: Send, folder: Path) -> None:
    one = [*bursts(1), ("a", "a9", "")]
    assert refused(send, table(one)) == {"b": "too_few_images"}
    shutil.rmtree(folder)
    apart = [*bursts(1, "train"), ("a", "x", "test"), ("b", "y", "test")]
    assert send(table(apart)).counts["b"] == {"train": 3, "test": 1}


def test_a_group_without_a_name_is_none_and_an_odd_name_is_refused(send: Send, folder: Path) -> None:
    odd = [*bursts(2), ("a", "x" * 201, "")]
    assert refused(send, table(odd)) == {"labels.csv line 14": "group_name"}
    shutil.rmtree(folder)
    send(table([(label, "", "") for label in "aabb"]))
    assert {image.group for image in read_list(folder)} == {""}


def test_where_no_group_is_left_for_validation_the_error_says_what_to_do(
    send: Send, folder: Path, settings: Settings
) -> None:
    send(table(bursts(2)))
    data = uploaded.load("pets/1", placed(folder, settings), settings)
    with pytest.raises(DatasetInvalid, match=r"pets/1: the groups leave no image for the validation part.*a part val"):
        split(data, None, 0.2, seed=1)
    assert len(split(data, None, 0.0, seed=1).train) == 6


def test_the_digest_covers_groups() -> None:
    image = StoredImage("train", "a", "0.png", "0" * 64)
    assert digest_of([image]) != digest_of([replace(image, group="x")])


async def test_a_later_change_divides_no_group_either(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Builder, "build", build_here)
    rows = [*bursts(2, "train"), ("a", "x", "test"), ("b", "y", "test")]
    sent = await http.post("/datasets?name=pets", content=zipped(table(rows)), headers=ZIP)
    assert sent.status_code == 201, sent.text
    refusal = await http.patch("/datasets/pets/images/1", json={"class": "a", "part": "test"})
    assert (refusal.status_code, refusal.json()["errors"][0]["code"]) == (422, "group_parts")
    assert "has images in test and train" in refusal.json()["detail"]


def named_bursts(count: int) -> dict[str, bytes]:
    """Photos in folders of classes, whose names tell the burst."""
    rows = enumerate(bursts(count))
    return {f"{label}/{group}_frame_{place}.png": photo(place) for place, (label, group, _) in rows}


async def test_groups_in_file_names_count_now_and_for_images_that_come_later(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Builder, "build", build_here)
    files = named_bursts(2) | {"a/other.png": photo(99)}
    query = {"name": "pets", "group_pattern": "{group}_frame_*"}
    sent = await http.post("/datasets", params=query, content=zipped(files), headers=ZIP)
    assert sent.status_code == 201, sent.text
    card = sent.json()
    assert card["group_pattern"] == query["group_pattern"]
    assert [problem["code"] for problem in card["problems"]] == ["group_name"]
    assert "1 of 13 file names do not fit" in card["problems"][0]["reason"]
    adding = {"class": "a", "part": "test"}
    more = {"file": ("a0_frame_9.png", photo(50), "image/png")}
    refusal = await http.post("/datasets/pets/images", params=adding, files=more)
    assert refusal.status_code == 422
    assert "The group a0 has images in test and train" in refusal.json()["detail"]


async def test_a_pattern_that_tells_nothing_is_an_error(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Builder, "build", build_here)
    query = {"name": "pets", "group_pattern": "frame_*"}
    wrong = await http.post("/datasets", params=query, content=zipped(named_bursts(2)), headers=ZIP)
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "query/group_pattern")
    query["group_pattern"] = "{group}-*"
    unfit = await http.post("/datasets", params=query, content=zipped(named_bursts(2)), headers=ZIP)
    assert (unfit.status_code, unfit.json()["errors"][0]["code"]) == (422, "group_name")
