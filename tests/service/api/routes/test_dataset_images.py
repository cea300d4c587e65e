"""The images of a data set, changed one by one.

Each change is its next version, and older ones stay what they were.
"""

import io
from typing import Any

import httpx
import pytest
from PIL import Image

from core.settings import Settings
from service.datasets.builder import Builder
from tests.conftest import running
from tests.support.builds import build_here
from tests.support.datafiles import zipped
from tests.support.setfiles import idx_files, pets, photo

ZIP, PNG = {"Content-Type": "application/zip"}, {"Content-Type": "image/png"}
in_a_process = Builder.build


@pytest.fixture(autouse=True)
def _build_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Builder, "build", build_here)


@pytest.fixture
async def sent(http: httpx.AsyncClient) -> None:
    """Upload the data set ``pets``, with three cats and three dogs."""
    await upload(http)


async def upload(http: httpx.AsyncClient, files: Any = None) -> None:
    data = zipped(files or pets("cat", "dog"))
    answer = await http.post("/datasets", params={"name": "pets", "replace": True}, content=data, headers=ZIP)
    assert answer.status_code == 201, answer.text


async def add(http: httpx.AsyncClient, *files: bytes, **options: Any) -> httpx.Response:
    return await http.post("/datasets/pets/images", files=[("file", ("new.png", data)) for data in files], **options)


async def seen(http: httpx.AsyncClient, reference: str = "pets", **params: Any) -> dict[int, str]:
    """Return the class of each image, by its number."""
    page = (await http.get(f"/datasets/{reference}/images", params=params)).json()
    return {image["id"]: image["class"] for image in page["data"]}


@pytest.mark.usefixtures("sent")
async def test_images_are_listed_in_pages_with_small_pictures(http: httpx.AsyncClient) -> None:
    first = (await http.get("/datasets/pets/images", params={"limit": 4})).json()
    rest = (await http.get("/datasets/pets/images", params={"limit": 4, "after": first["next"]})).json()
    assert [(page["has_more"], len(page["data"])) for page in (first, rest)] == [(True, 4), (False, 2)]
    one = first["data"][0]
    assert (one["id"], one["part"], one["file"].endswith(".png")) == (1, "train", True)
    dogs = await seen(http, **{"class": "dog"})
    assert (len(dogs), set(dogs.values()), await seen(http, part="test")) == (3, {"dog"}, {})
    picture = await http.get(one["thumbnail"])
    with Image.open(io.BytesIO(picture.content)) as drawn:
        assert (drawn.size, drawn.format) == ((112, 112), "PNG")
    assert (await http.get("/datasets/pets/images/7/thumbnail.png")).status_code == 404


@pytest.mark.usefixtures("sent")
async def test_adding_moving_and_removing_each_make_a_version(http: httpx.AsyncClient) -> None:
    added = await add(http, photo(901), photo(902), data={"class": "cat"})
    assert (added.status_code, added.headers["location"]) == (201, "/datasets/pets/2")
    assert added.json()["classes"] == {"cat": {"train": 5, "test": 0}, "dog": {"train": 3, "test": 0}}
    new = max(await seen(http))
    moved = (await http.patch(f"/datasets/pets/images/{new}", json={"class": "dog"})).json()
    removed = (await http.delete(f"/datasets/pets/images/{new}")).json()
    assert [card["version"] for card in (moved, removed)] == [3, 4]
    assert [card["images"] for card in (moved, removed)] == [8, 7]
    told = [(await seen(http, f"pets/{version}")).get(new) for version in (1, 2, 3, 4)]
    assert told == [None, "cat", "dog", None]
    cards = [(await http.get(f"/datasets/pets/{version}")).json() for version in (2, 3, 4)]
    assert cards == [added.json(), moved, removed]
    assert len({card["digest"] for card in cards}) == 3


@pytest.mark.usefixtures("sent")
async def test_an_image_comes_by_itself_or_many_with_their_classes_in_an_archive(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Builder, "build", in_a_process)
    alone = await http.post(
        "/datasets/pets/images", params={"class": "fox", "part": "train"}, content=photo(903), headers=PNG
    )
    assert (alone.status_code, alone.json()["errors"][0]["code"]) == (422, "too_few_images")  # one fox is no class
    files = pets("cat", "fox", above="more/") | {"more/fox/notes.txt": b"none"}
    many = await http.post("/datasets/pets/images", content=zipped(files), headers=ZIP)
    assert (many.status_code, many.json()["images"]) == (201, 12)
    assert [problem["code"] for problem in many.json()["problems"]] == ["not_an_image"]
    one = await http.post("/datasets/pets/images", params={"class": "fox"}, content=photo(903), headers=PNG)
    assert one.json()["classes"]["fox"]["train"] == 4


@pytest.mark.usefixtures("sent")
async def test_several_move_or_go_at_once(http: httpx.AsyncClient) -> None:
    cats = [number for number, label in (await seen(http)).items() if label == "cat"]
    moved = await http.patch("/datasets/pets/images", json={"images": cats, "class": "lynx"})
    assert (moved.status_code, moved.json()["version"]) == (200, 2)
    gone = await http.delete("/datasets/pets/images", params={"id": cats})
    assert (gone.status_code, gone.json()["code"]) == (422, "dataset_invalid")  # one class is not enough
    assert (await http.get("/datasets/pets")).json()["version"] == 2
    back = await http.patch("/datasets/pets/images", json={"images": cats, "class": "cat"})
    assert (back.json()["version"], len(await seen(http, **{"class": "cat"}))) == (3, 3)
    same = await http.patch("/datasets/pets/images", json={"images": cats, "class": "cat"})
    assert same.json()["version"] == 3  # nothing changed


@pytest.mark.usefixtures("sent")
async def test_what_is_there_already_is_left_out_and_no_image_is_of_two_classes(http: httpx.AsyncClient) -> None:
    own = pets("cat", "dog")["cat/0.png"]
    again = await add(http, own, data={"class": "cat"})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    both = await add(http, own, photo(904), data={"class": "cat"})
    assert (both.json()["images"], [problem["code"] for problem in both.json()["problems"]]) == (7, ["same_bytes"])
    other = await add(http, own, data={"class": "dog"})
    assert (other.status_code, other.json()["errors"][0]["code"]) == (422, "two_labels")


@pytest.mark.usefixtures("sent")
async def test_what_cannot_be_is_refused_by_name(http: httpx.AsyncClient) -> None:
    path = "/datasets/pets/images"
    answers = {
        404: [
            await http.patch(f"{path}/99", json={"class": "dog"}),
            await http.delete(f"{path}/99"),
            await http.delete("/datasets/cats/images/1"),
        ],
        413: [await http.patch(f"{path}/1", content=b" " * 70_000)],
        422: [
            await http.patch(f"{path}/1", json={}),
            await http.patch(f"{path}/1", json={"class": "../dog"}),
            await http.patch(f"{path}/1", json={"part": "all"}),
            await http.patch(path, json={"images": [1] * 1_001, "class": "dog"}),
            await http.delete(path),
            await add(http, b"none", data={"class": "cat"}),
            await add(http, photo(905), data={"class": "a/b"}),
            await add(http, photo(905), data={"class": "cat", "part": "all"}),
        ],
    }
    for status, refused in answers.items():
        assert [answer.status_code for answer in refused] == [status] * len(refused)
    assert (await http.get("/datasets/pets")).json()["version"] == 1


async def test_idx_files_say_that_they_cannot_be_changed_image_by_image_and_what_to_do(http: httpx.AsyncClient) -> None:
    await upload(http, idx_files())
    path = "/datasets/pets/images"
    answers = [
        await http.get(path),
        await http.get(f"{path}/1/thumbnail.png"),
        await add(http, photo(906), data={"class": "1"}),
        await http.patch(f"{path}/1", json={"class": "1"}),
        await http.delete(f"{path}/1"),
    ]
    assert {answer.status_code for answer in answers} == {409}
    assert all("send the four files again with ?replace=true" in answer.json()["detail"] for answer in answers)


async def test_versions_and_images_are_bounded(settings: Settings) -> None:
    few = settings.model_copy(update={"max_dataset_versions": 2, "max_dataset_files": 7})
    async with running(few) as http:
        await upload(http)
        assert (await add(http, photo(907), photo(908), data={"class": "cat"})).status_code == 413
        assert (await http.delete("/datasets/pets/images/1")).json()["version"] == 2
        full = await http.delete("/datasets/pets/images/4")
        assert (full.status_code, "TUNESERVE_MAX_DATASET_VERSIONS" in full.json()["detail"]) == (409, True)
