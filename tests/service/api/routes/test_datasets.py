"""POST /datasets and what follows, through the whole service."""

import io
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select

from core.dataset_references import DATASETS, parse_dataset
from core.db.database import Database
from core.db.tables import DatasetImage, Job, Model
from core.repositories import datasets
from core.repositories.jobs import Claim
from core.settings import Settings
from service.datasets import versions
from service.datasets.builder import Builder
from service.datasets.catalog import PUBLISHED
from service.datasets.file_store import FileStore
from tests.conftest import running
from tests.support.builds import build_here
from tests.support.datafiles import tar_gz, zipped
from tests.support.setfiles import idx_files, pets, photo
from worker.data.datasets import load, uploaded
from worker.data.datasets.dataset import Dataset

ZIP = "application/zip"
PETS = zipped(pets("cat", "dog"))


async def post(
    http: httpx.AsyncClient, data: bytes = PETS, name: str = "pets", content_type: str = ZIP, **more: Any
) -> httpx.Response:
    params = {"name": name} | more.pop("params", {})
    headers = {"Content-Type": content_type} | more.pop("headers", {})
    return await http.post("/datasets", content=data, params=params, headers=headers)


in_a_process = Builder.build


@pytest.fixture(autouse=True)
def _build_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Builder, "build", build_here)


def left(settings: Settings) -> list[str]:
    """List the stored data sets' folders and those left aside."""
    root = settings.dataset_files_dir
    return sorted(path.name for path in root.iterdir()) if root.is_dir() else []


def trained_on(db: Database, settings: Settings, reference: str) -> Dataset:
    """Return the data set that a training of this version loads."""
    name, version = parse_dataset(reference)
    with db.read() as session:
        assert version is not None
        return uploaded.load(reference, datasets.images(session, name, version), settings)


def make_folder(settings: Settings, path: str) -> Path:
    folder = settings.resolved_datasets_dir / path
    folder.mkdir(parents=True)
    return folder


async def listed(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = (await http.get("/datasets")).json()["data"]
    return data[len(DATASETS) :]


async def test_what_is_sent_is_told_kept_and_can_be_trained_on(
    http: httpx.AsyncClient, settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Builder, "build", in_a_process)
    answer = await post(http, zipped(pets("cat", "dog") | {"cat/notes.txt": b"meow"}))
    card = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, "/datasets/pets")
    assert card["classes"] == {"cat": {"train": 3, "test": 0}, "dog": {"train": 3, "test": 0}}
    assert [(problem["file"], problem["code"]) for problem in card["problems"]] == [("cat/notes.txt", "not_an_image")]
    assert (await http.get("/datasets/pets")).json() == card
    job = (await http.post("/jobs", json={"dataset": "pets"})).json()
    assert (job["recipe"]["dataset"], left(settings)) == ("pets/1", ["pets"])
    assert trained_on(db, settings, "pets/1").classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("data", "content_type"),
    [(PETS, "application/octet-stream"), (tar_gz(pets("cat", "dog")), "application/gzip")],
    ids=["zip", "tar"],
)
async def test_the_bytes_say_which_archive_it_is(http: httpx.AsyncClient, data: bytes, content_type: str) -> None:
    assert (await post(http, data, content_type=content_type)).json()["images"] == 6


@pytest.mark.parametrize(
    "files", [{"pets.zip": PETS}, dict(idx_files()), pets("cat", "dog")], ids=["zip", "idx files", "a folder"]
)
async def test_a_form_takes_an_archive_or_the_files_themselves(
    http: httpx.AsyncClient, files: Mapping[str, bytes]
) -> None:
    parts = [("file", (name, data)) for name, data in files.items()]
    answer = await http.post("/datasets", params={"name": "pets"}, files=parts)
    assert answer.status_code == 201, answer.text
    assert (await listed(http))[0]["images"] == answer.json()["images"]


async def test_what_cannot_be_used_is_refused_with_the_whole_list(http: httpx.AsyncClient, settings: Settings) -> None:
    answer = await post(http, zipped({"cat/a.png": photo(1), "cat/b.png": b"none", "../c.png": photo(2)}))
    assert (answer.status_code, answer.json()["code"]) == (422, "dataset_invalid")
    assert {entry["pointer"]: (entry["code"], entry["severity"]) for entry in answer.json()["errors"]} == {
        "classes": ("too_few_classes", "error"),
        "cat": ("too_few_images", "error"),
        "cat/b.png": ("not_an_image", "warning"),
        "../c.png": ("unsafe_path", "warning"),
    }
    assert left(settings) == []


@pytest.mark.parametrize("name", ["mnist", "Pets", "a/b", "..", ""])
async def test_a_name_that_no_recipe_could_use_is_refused(http: httpx.AsyncClient, name: str) -> None:
    answer = await post(http, name=name)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "query/name")


@pytest.mark.parametrize(("content_type", "status"), [("application/json", 415), (ZIP, 422)])
async def test_a_body_that_is_no_archive_is_refused(http: httpx.AsyncClient, content_type: str, status: int) -> None:
    assert (await post(http, b"{}", content_type=content_type)).status_code == status


async def test_a_body_may_be_larger_than_others_and_has_its_own_limit(settings: Settings) -> None:
    async with running(settings.model_copy(update={"max_body_bytes": 100})) as http:
        assert (await post(http)).status_code == 422  # each image has that limit
    async with running(settings.model_copy(update={"max_dataset_bytes": len(PETS) - 1})) as http:
        assert (await post(http)).status_code == 413
        assert (await http.post("/datasets", params={"name": "pets"}, files={"file": PETS})).status_code == 413
    assert left(settings) == []


async def test_a_zip_bomb_is_too_large(http: httpx.AsyncClient, settings: Settings) -> None:
    answer = await post(http, zipped({"cat/bomb.png": bytes(150 * 2**20)}))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert left(settings) == []


# -- versions


async def test_another_one_of_the_name_must_be_wanted_and_is_the_next_version(
    http: httpx.AsyncClient, settings: Settings, db: Database
) -> None:
    first = (await post(http)).json()
    other = zipped(pets("cat", "dog", "fox"))
    assert (await post(http, other)).status_code == 409
    second = (await post(http, other, params={"replace": True})).json()
    assert (first["version"], second["version"], len(second["classes"])) == (1, 2, 3)
    assert first["digest"] != second["digest"]
    assert [(await http.get(f"/datasets/pets{path}")).json() for path in ("", "/1")] == [second, first]
    before, after = (trained_on(db, settings, f"pets/{version}") for version in (1, 2))
    assert (before.classes, after.classes) == (("cat", "dog"), ("cat", "dog", "fox"))
    assert left(settings) == ["pets"]


async def test_a_job_may_name_an_older_version_and_a_name_alone_is_the_newest(http: httpx.AsyncClient) -> None:
    for label in ("dog", "fox"):
        await post(http, zipped(pets("cat", label)), params={"replace": True})
    made = [await http.post("/jobs", json={"dataset": reference}) for reference in ("pets/1", "pets")]
    assert [job.json()["recipe"]["dataset"] for job in made] == ["pets/1", "pets/2"]
    refused = [await http.post("/jobs", json={"dataset": reference}) for reference in ("pets/3", "mnist/1", "pets/0")]
    assert {(no.status_code, no.json()["errors"][0]["pointer"]) for no in refused} == {(422, "/dataset")}
    ids = [job.json()["id"] for job in reversed(made)]
    for wanted, found in (("pets", ids), ("pets/1", ids[1:]), ("pet", [])):
        page = (await http.get("/jobs", params={"dataset": wanted})).json()
        assert [job["id"] for job in page["data"]] == found


async def test_versions_share_the_files_of_the_images_that_they_share(
    http: httpx.AsyncClient, settings: Settings, db: Database
) -> None:
    """Versions share the files of unchanged images.

    A hundredth is replaced: no more than that is written, and every other image stays the same.
    """
    sent = pets("cat", "dog", each=50)
    await post(http, zipped(sent))
    before = {file: file.stat().st_ino for file in settings.dataset_files_dir.rglob("*") if file.is_file()}
    await post(http, zipped(sent | {"cat/0.png": photo(9_999)}), params={"replace": True})
    after = {file: file.stat().st_ino for file in settings.dataset_files_dir.rglob("*") if file.is_file()}
    assert (len(before), len(after), before.items() <= after.items()) == (100, 101, True)
    with db.read() as session:
        first, second = (datasets.images(session, "pets", version) for version in (1, 2))
        rows = session.scalar(select(func.count()).select_from(DatasetImage))
    assert (len(first), len(second), len(set(first) & set(second)), rows) == (100, 100, 99, 101)


async def test_what_fails_to_replace_leaves_the_old_one(http: httpx.AsyncClient) -> None:
    first = (await post(http)).json()
    assert (await post(http, zipped(pets("cat")), params={"replace": True})).status_code == 422
    assert (await http.get("/datasets/pets")).json() == first


async def test_the_same_request_again_is_the_same_answer(http: httpx.AsyncClient, settings: Settings) -> None:
    headers = {"Idempotency-Key": "one"}
    first, again = await post(http, headers=headers), await post(http, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    other = await post(http, zipped(pets("cat", "fox")), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert left(settings) == ["pets"]


async def test_a_dry_run_tells_the_same_and_keeps_nothing(http: httpx.AsyncClient, settings: Settings) -> None:
    sent = zipped(pets("cat", "dog") | {"cat/notes.txt": b"meow"})
    once = {"Idempotency-Key": "first"}
    foreseen = await post(http, sent, params={"dry_run": True}, headers=once)
    assert (foreseen.status_code, left(settings)) == (200, [])
    made = await post(http, sent, headers=once)
    assert made.status_code == 201
    assert foreseen.json() == made.json() | {"created_at": foreseen.json()["created_at"]}


async def test_a_dry_run_is_refused_as_the_real_one_would_be(http: httpx.AsyncClient) -> None:
    unusable, dry = zipped(pets("cat") | {"dog/1.png": b"none"}), {"dry_run": True}
    refusals = [await post(http, unusable, params=params) for params in (dry, {})]
    assert [refusal.status_code for refusal in refusals] == [422, 422]
    assert refusals[0].json()["errors"] == refusals[1].json()["errors"]
    await post(http)
    assert (await post(http, params=dry)).status_code == 409
    replacing = await post(http, params=dry | {"replace": True})
    assert (replacing.status_code, replacing.json()["version"]) == (200, 2)
    assert (await http.get("/datasets/pets")).json()["version"] == 1


async def test_the_data_sets_directory_is_only_read(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", datasets_dir=tmp_path / "sets", predict_threads=1)
    (tmp_path / "sets").mkdir(mode=0o500)
    async with running(settings) as http:
        assert (await post(http)).status_code == 201
        assert (await http.get("/datasets/pets/samples.png")).status_code == 200
    assert list((tmp_path / "sets").iterdir()) == []


async def test_a_folder_that_somebody_put_there_is_not_touched(http: httpx.AsyncClient, settings: Settings) -> None:
    own = make_folder(settings, "pets")
    assert (await post(http, params={"replace": True})).status_code == 409
    assert (await http.delete("/datasets/pets")).status_code == 404
    assert (own.is_dir(), await listed(http)) == (True, [dict(SUMMARY, kind="folder")])


SUMMARY: dict[str, Any] = {
    "name": "pets",
    "kind": "uploaded",
    "available": True,
    "version": None,
    "images": None,
    "classes": None,
}


async def test_the_list_tells_the_numbers(http: httpx.AsyncClient) -> None:
    await post(http)
    assert await listed(http) == [SUMMARY | {"version": 1, "images": 6, "classes": 2}]


# -- deleting


async def test_a_deleted_one_is_gone(http: httpx.AsyncClient, settings: Settings) -> None:
    await post(http)
    assert (await http.delete("/datasets/pets")).status_code == 204
    assert [(await http.request(method, "/datasets/pets")).status_code for method in ("GET", "DELETE")] == [404, 404]
    assert (left(settings), (await http.post("/jobs", json={"dataset": "pets"})).status_code) == ([], 422)


async def test_while_a_job_waits_for_it_it_stays(http: httpx.AsyncClient, enqueue: Callable[..., Job]) -> None:
    await post(http)
    job = enqueue(dataset="pets")
    refusal = await http.delete("/datasets/pets")
    assert (refusal.status_code, job.id in refusal.json()["detail"]) == (409, True)
    assert (await post(http, params={"replace": True})).json()["version"] == 2
    await http.post(f"/jobs/{job.id}/cancel")
    assert (await http.delete("/datasets/pets")).status_code == 204


async def test_a_job_goes_on_with_its_version_while_another_one_is_made(
    http: httpx.AsyncClient, settings: Settings, claimed: Callable[..., Claim], db: Database
) -> None:
    await post(http)
    claimed(dataset="pets")
    before = trained_on(db, settings, "pets/1").digest
    assert (await post(http, zipped(pets("cat", "fox")), params={"replace": True})).json()["version"] == 2
    assert trained_on(db, settings, "pets/1").digest == before


async def test_two_that_take_the_name_at_once_are_not_mixed(
    http: httpx.AsyncClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one arrives whole while the first is still looked at."""
    build, turn = Builder.build, [zipped(pets("cat", "fox"))]

    async def slower(*args: Any, **options: Any) -> Any:
        built = await build(*args, **options)
        if turn:
            assert (await post(http, turn.pop())).status_code == 201
        return built

    monkeypatch.setattr(Builder, "build", slower)
    assert (await post(http)).status_code == 409
    assert list((await http.get("/datasets/pets")).json()["classes"]) == ["cat", "fox"]


async def test_a_version_whose_row_could_not_be_written_is_none_and_leaves_nothing(
    http: httpx.AsyncClient, settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version without a row leaves no files.

    The files are placed first; the service may be killed between the two.
    """

    def killed(*_: Any) -> None:
        raise sqlite3.OperationalError("as if it were killed")

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "add_version", killed)
        with pytest.raises(sqlite3.OperationalError):
            await post(http)
    assert (left(settings), await listed(http)) == (["pets"], [])
    FileStore(settings.dataset_files_dir).sweep_deleted(db)
    assert left(settings) == []
    assert (await post(http)).json()["version"] == 1


async def sent(http: httpx.AsyncClient, *seconds: str) -> None:
    """Upload versions with the same cats and another second class.

    There are three photos of what each of ``seconds`` names.
    """
    for place, label in enumerate(seconds):
        files = pets("cat") | {f"{label}/{number}.png": photo(1_000 * (place + 1) + number) for number in range(3)}
        assert (await post(http, zipped(files), params={"replace": True})).status_code == 201


def stored(settings: Settings) -> int:
    return sum(file.is_file() for file in settings.dataset_files_dir.rglob("*"))


async def test_a_version_that_is_deleted_takes_the_files_that_no_other_has(
    http: httpx.AsyncClient, settings: Settings, db: Database
) -> None:
    await sent(http, "dog", "fox", "hen")
    before = trained_on(db, settings, "pets/1").digest
    assert ((await http.delete("/datasets/pets/2")).status_code, stored(settings)) == (204, 12 - 3)
    assert [(await http.request(method, "/datasets/pets/2")).status_code for method in ("GET", "DELETE")] == [404, 404]
    assert trained_on(db, settings, "pets/1").digest == before
    await http.delete("/datasets/pets/3")  # takes the last change back
    assert ((await http.get("/datasets/pets")).json()["version"], stored(settings)) == (1, 6)
    await http.delete("/datasets/pets/1")
    assert (left(settings), (await http.get("/datasets/pets")).status_code) == ([], 404)
    await sent(http, "dog")
    assert (await http.get("/datasets/pets")).json()["version"] == 4  # no number means two contents


async def test_a_version_that_a_model_or_a_job_wants_is_kept(
    http: httpx.AsyncClient, settings: Settings, enqueue: Callable[..., Job], published: Callable[..., Model]
) -> None:
    await sent(http, "dog", "fox")
    page = (await http.get("/datasets/pets/versions", params={"limit": 1})).json()
    rest = (await http.get("/datasets/pets/versions", params={"after": page["next"]})).json()
    assert [[one["version"] for one in part["data"]] for part in (page, rest)] == [[2], [1]]
    job, model = enqueue(dataset="pets/2"), published(dataset="pets/1", name="pets")
    for reference, wanting in (("pets/1", "pets/1"), ("pets/2", job.id), ("pets", job.id)):
        refusal = await http.delete(f"/datasets/{reference}", params={"force": reference != "pets/1"})
        assert (refusal.status_code, wanting in refusal.json()["detail"]) == (409, True)
    await http.post(f"/jobs/{job.id}/cancel")
    assert (await http.delete("/datasets/pets")).status_code == 409
    assert (await http.delete("/datasets/pets/2")).status_code == 204
    assert (await http.delete("/datasets/pets", params={"force": True})).status_code == 204
    assert ((await http.get(f"/models/{model.id}")).status_code, left(settings)) == (200, [])


async def test_the_retention_setting_keeps_the_newest_and_what_a_model_was_trained_on(
    http: httpx.AsyncClient, settings: Settings, db: Database, published: Callable[..., Model]
) -> None:
    await sent(http, "dog", "fox", "hen", "owl")
    published(dataset="pets/2", name="pets")
    for kept, expected in ((None, [1, 2, 3, 4]), (1, [2, 4])):
        versions.expire(db, settings.model_copy(update={"keep_dataset_versions": kept}))
        found = [(await http.get(f"/datasets/pets/{number}")).status_code for number in range(1, 5)]
        assert [number for number, status in enumerate(found, 1) if status == 200] == expected
    assert stored(settings) == 3 + 3 + 3


# -- the contact sheet


@pytest.mark.parametrize("files", [pets("кот", "dog", "a" * 60), idx_files()], ids=["photos", "idx files"])
async def test_the_contact_sheet_shows_each_class(http: httpx.AsyncClient, files: Mapping[str, bytes]) -> None:
    await post(http, zipped(files))
    answer = await http.get("/datasets/pets/samples.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.content)) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert pixels.shape == (3 * 120 + 8, 200 + 8 * 120 + 8, 3)
    for row in range(3):
        names, first = pixels[8 + 120 * row : 120 * (row + 1), :200], pixels[8 + 120 * row : 120 * (row + 1), 200:312]
        assert names.min() < 128
        assert first.std() > 20
    assert pixels[8:120, 200 + 5 * 120 :].min() == 255  # no class has six images


async def test_the_contact_sheet_writes_many_scripts_and_only_numbers_the_others(http: httpx.AsyncClient) -> None:
    async def name(label: str) -> bytes:
        await post(http, zipped(pets("a", label)), params={"replace": "true"})
        picture = (await http.get("/datasets/pets/samples.png")).content
        with Image.open(io.BytesIO(picture)) as sheet:
            return sheet.crop((0, 128, 200, 240)).tobytes()  # of the second row

    numbered = await name("犬")
    assert await name("猫") == numbered
    assert len({numbered, *[await name(label) for label in ("кот", "пёс", "γάτα", "bär")]}) == 5


@pytest.mark.parametrize("path", ["/datasets/none", "/datasets/none/samples.png", "/datasets/mnist/samples.png"])
async def test_what_was_not_uploaded_is_not_found(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


async def test_of_a_built_in_one_it_is_told_whether_it_is_here_and_what_is_known(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    known = {"name": "mnist", "kind": "built_in", "version": None, "images": 70_000, "classes": 10}
    assert (await http.get("/datasets/mnist")).json() == known | {"available": False}
    (make_folder(settings, "mnist") / "train-images-idx3-ubyte.gz").write_bytes(b"")
    assert (await http.get("/datasets/mnist")).json() == known | {"available": True}
    assert [entry for entry in (await http.get("/datasets")).json()["data"] if entry["name"] == "mnist"] == [
        known | {"available": True}
    ]
    assert (await http.delete("/datasets/mnist")).status_code == 404


async def test_of_a_folder_that_somebody_put_there_it_is_told_that_it_is_here(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    make_folder(settings, "pets/cat")
    told = (await http.get("/datasets/pets")).json()
    assert (told["kind"], told["available"], told["classes"]) == ("folder", True, None)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "usps"])
def test_what_is_told_of_a_built_in_one_is_what_a_job_reads(name: str, settings: Settings, shared: Path) -> None:
    data = load(name, settings.model_copy(update={"datasets_dir": shared / "data"}))
    assert PUBLISHED[name] == (len(data.classes), len(data.train_labels) + len(data.test_labels))


def test_something_is_known_of_every_built_in_one() -> None:
    assert list(PUBLISHED) == list(DATASETS)


async def test_a_kill_leaves_no_half_data_set(http: httpx.AsyncClient, settings: Settings) -> None:
    """What lies aside is no data set to anybody."""
    (settings.dataset_files_dir / ".aside-0123" / "built" / "train" / "cat").mkdir(parents=True)
    assert await listed(http) == []
    assert (await post(http)).status_code == 201
