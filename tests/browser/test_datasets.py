"""The page's data sets in a real browser.

They are uploaded, viewed, trained on and deleted.
"""

import time
from pathlib import Path
from random import Random

import pytest
from playwright.sync_api import Locator, Page, Route, expect
from pydantic import SecretStr

from core.checkups import queue
from core.db.database import Database
from core.db.tables import Worker
from core.repositories import workers
from service.datasets.builder import Builder
from tests.browser.conftest import Site
from tests.browser.test_page import KEY, fill_in
from tests.conftest import NOW
from tests.integration.conftest import wait_for
from tests.support.builds import build_here
from tests.support.datafiles import zipped
from tests.support.setfiles import pets, photo

pytestmark = pytest.mark.browser
LONG = "кот длиннейший " * 5  # in UTF-8 longer than a tar's field


BY_ITSELF = ("test_an_archive_is_sent_looked_at_and_trained_on", "test_all_that_is_wrong_is_told_file_by_file")


@pytest.fixture(autouse=True)
def _build_here(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Build data sets without a process for each, but in two tests that show what a real one finds."""
    if request.node.name not in BY_ITSELF:
        monkeypatch.setattr(Builder, "build", build_here)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two classes, and a file that is no image."""
    file = tmp_path / "My pets.zip"
    file.write_bytes(zipped(pets("cat", "dog") | {"cat/notes.txt": b"meow"}))
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "Photos"
    for name, data in pets("dog", LONG.strip()).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def send(page: Page, file: Path | list[Path], kind: str = "file", **fields: str) -> None:
    page.goto("/#/datasets")
    page.get_by_label(f"Choose a {kind}").set_input_files(file)
    fill_in(page, **fields)
    page.get_by_role("button", name="Send it").click()


def title(page: Page, name: str) -> None:
    expect(page.get_by_label(f"Steps of {name}")).to_be_visible()


def row(page: Page, label: str) -> Locator:
    return page.get_by_role("region", name=f"Class {label}")


def photos(page: Page, label: str) -> Locator:
    return page.get_by_role("group", name=f"Photos of {label}").get_by_role("button")


def widths(place: Locator) -> list[int]:
    found: list[int] = place.locator("img").evaluate_all("all => all.map(image => image.naturalWidth)")
    return found


def test_an_archive_is_sent_looked_at_and_trained_on(page: Page, programs: Site, archive: Path) -> None:
    programs.serve()
    send(page, archive)
    title(page, "my-pets")
    expect(page.get_by_role("heading", level=1)).to_have_text("6 photos in 2 classes")
    dogs = row(page, "dog")
    expect(dogs).to_contain_text("3 photos")
    expect(dogs.locator("img")).to_have_count(3)
    wait_for(lambda: widths(dogs) == [112] * 3, "the thumbnails to be there")
    page.get_by_text("Left out", exact=True).click()
    expect(page.get_by_label("What is wrong")).to_contain_text("cat/notes.txt")
    page.get_by_role("link", name="Train on it").click()
    expect(page.get_by_label("Data set", exact=True)).to_have_value("my-pets")


def test_a_folder_is_sent_as_it_lies_on_the_disk(page: Page, programs: Site, folder: Path) -> None:
    programs.serve()
    send(page, folder, "folder")
    title(page, "photos")
    classes = programs.http.get("/datasets/photos").json()["classes"]
    assert {label: count["train"] for label, count in classes.items()} == {"dog": 3, LONG.strip(): 3}


def test_where_sending_breaks_off_it_goes_on(page: Page, programs: Site, tmp_path: Path) -> None:
    """An upload goes on after its connection breaks.

    The file has two pieces; before the second one, the network is away for a moment.
    """
    programs.serve()
    file = tmp_path / "large.zip"
    file.write_bytes(zipped(pets("cat", "dog") | {"cat/.noise": Random(0).randbytes(9 * 2**20)}))
    offsets: list[str] = []

    def cut(route: Route) -> None:
        offsets.append(route.request.headers["upload-offset"])
        if len(offsets) == 2:
            route.abort()
        else:
            route.continue_()

    page.route("**/uploads/*", lambda route: cut(route) if route.request.method == "PATCH" else route.continue_())
    send(page, file)
    title(page, "large")
    assert offsets == ["0", "8388608", "8388608"]


def test_a_name_that_is_taken_is_mended_and_nothing_sent_again(page: Page, programs: Site, archive: Path) -> None:
    programs.serve()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method) if request.method == "PATCH" else None)
    send(page, archive)
    title(page, "my-pets")
    send(page, archive)
    expect(page.get_by_role("alert")).to_contain_text("There is a data set my-pets")
    page.get_by_label("next version").check()
    page.get_by_role("button", name="Send it").click()
    title(page, "my-pets")
    expect(page.get_by_label("Version", exact=True)).to_have_value("2")
    assert len(sent) == 2


def test_all_that_is_wrong_is_told_file_by_file(page: Page, programs: Site, tmp_path: Path) -> None:
    programs.serve()
    broken = tmp_path / "broken.zip"
    broken.write_bytes(zipped({"cat/a.png": b"none", "../b.png": b"x"}))
    send(page, broken)
    wrong = page.get_by_label("What is wrong")
    expect(wrong).to_contain_text("leads out of the archive")
    expect(wrong.get_by_role("row", name="cat/a.png")).to_contain_text("not an image")
    wait_for(lambda: not list((programs.data_dir / "uploads").iterdir()), "the upload to be removed")


def test_a_data_set_is_deleted_by_who_means_it(page: Page, programs: Site, archive: Path) -> None:
    programs.serve()
    programs.http.post("/datasets?name=pets", files={"file": archive.read_bytes()}).raise_for_status()
    page.goto("/#/datasets")
    own = page.get_by_role("button", name="Delete pets")
    page.once("dialog", lambda dialog: dialog.dismiss())
    own.click()
    expect(own).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    own.click()
    expect(own).to_have_count(0)
    assert programs.http.get("/datasets/pets").status_code == 404


def test_a_dropped_file_is_taken(page: Page, programs: Site, archive: Path) -> None:
    programs.serve()
    page.goto("/#/datasets")
    page.locator(".drop").evaluate(
        """(node, bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.zip"));
            node.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        list(archive.read_bytes()),
    )
    expect(page.get_by_text("dropped.zip ·")).to_be_visible()
    page.get_by_role("button", name="Send it").click()
    title(page, "dropped")


def test_a_dropped_folder_is_taken(page: Page, programs: Site, folder: Path) -> None:
    """A dropped folder is uploaded as the browser gets it.

    The drop comes from the desktop: a script of a page cannot make up a folder.
    """
    programs.serve()
    page.goto("/#/datasets")
    box = page.locator(".drop").bounding_box()
    assert box is not None
    desktop = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for event in ("dragEnter", "dragOver", "drop"):
        place = {"type": event, "x": box["x"] + 20, "y": box["y"] + 20, "data": data}
        desktop.send("Input.dispatchDragEvent", place)
    expect(page.get_by_text("Photos: 6 files ·")).to_be_visible()
    page.get_by_role("button", name="Send it").click()
    title(page, "photos")


def test_what_is_at_hand_stands_apart_from_what_would_be_fetched(page: Page, programs: Site) -> None:
    cifar = programs.data_dir / "datasets" / "cifar10" / "cifar-10-binary.tar.gz"
    cifar.parent.mkdir(parents=True)
    cifar.write_bytes(b"as it came")
    programs.serve()
    page.goto("/#/datasets")
    expect(page.get_by_role("rowheader")).to_have_text(["digits", "cifar10"])
    page.get_by_role("link", name="mnist", exact=True).click()
    expect(page.get_by_label("Data set", exact=True).locator("option:checked")).to_have_text("mnist · is fetched first")


def test_photos_are_moved_deleted_and_taken_back(page: Page, programs: Site) -> None:
    programs.serve()
    programs.http.post("/datasets?name=pets", files={"file": zipped(pets("cat", "dog", each=5))}).raise_for_status()
    page.goto("/#/datasets/pets")
    photos(page, "cat").first.click()
    page.get_by_label("Move to").select_option("dog")
    expect(row(page, "dog")).to_contain_text("6 photos")
    expect(row(page, "cat")).to_contain_text("4 photos")
    page.get_by_role("button", name="Undo").click()
    expect(row(page, "dog")).to_contain_text("5 photos")
    photos(page, "dog").first.click()
    photos(page, "dog").nth(1).click(modifiers=["Shift"])
    expect(page.get_by_text("2 chosen")).to_be_visible()
    page.get_by_role("button", name="Delete", exact=True).last.click()
    expect(row(page, "dog")).to_contain_text("3 photos")
    card = programs.http.get("/datasets/pets").json()
    assert (card["images"], card["classes"]["dog"]["train"]) == (8, 3)
    expect(page.get_by_label("Version", exact=True).locator("option")).to_have_count(2)
    page.get_by_role("button", name="Back to version 1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("10 photos in 2 classes")


def test_a_change_that_is_refused_says_why(page: Page, programs: Site) -> None:
    programs.serve()
    programs.http.post("/datasets?name=pets", files={"file": zipped(pets("cat", "dog"))}).raise_for_status()
    page.goto("/#/datasets/pets")
    photos(page, "dog").first.focus()
    page.keyboard.press("Control+a")
    page.get_by_role("button", name="Delete", exact=True).last.click()
    expect(page.get_by_role("alert")).to_be_in_viewport()
    assert programs.http.get("/datasets/pets").json()["version"] == 1


def test_a_class_is_renamed_and_photos_are_added_to_it(page: Page, programs: Site, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(photo(500 + number))
    programs.serve()
    programs.http.post("/datasets?name=pets", files={"file": zipped(pets("cat", "dog"))}).raise_for_status()
    page.goto("/#/datasets/pets")
    page.get_by_role("button", name="Rename the class cat").click()
    page.get_by_role("textbox", name="Rename the class cat").fill("lion")
    page.keyboard.press("Enter")
    expect(row(page, "lion")).to_contain_text("3 photos")
    page.get_by_label("Add photos of lion").set_input_files(files)
    expect(row(page, "lion")).to_contain_text("6 photos")
    page.get_by_label("Version", exact=True).select_option("1")
    expect(row(page, "cat")).to_contain_text("3 photos")
    expect(page.get_by_role("button", name="Rename")).to_have_count(0)  # an older version stays as it is


def test_with_a_key_the_photos_are_seen_too(page: Page, programs: Site) -> None:
    programs.serve(api_keys=SecretStr(f"me:admin:{KEY}"))
    key = {"Authorization": f"Bearer {KEY}"}
    sent = programs.http.post("/datasets?name=pets", files={"file": zipped(pets("cat", "dog"))}, headers=key)
    sent.raise_for_status()
    page.add_init_script(f"sessionStorage.setItem('tuneserve-api-key', '{KEY}')")
    page.goto("/#/datasets/pets")
    expect(photos(page, "cat")).to_have_count(3)
    wait_for(lambda: widths(row(page, "cat")) == [112] * 3, "the thumbnails to be there")


def finding(image: int, label: str, file: str) -> dict[str, object]:
    return {"id": image, "class": label, "part": "train", "file": file}


def test_what_the_check_up_found_is_seen_and_mended(page: Page, programs: Site, db: Database) -> None:
    programs.serve(max_checkup_images=100)
    programs.http.post("/datasets?name=pets", files={"file": zipped(pets("cat", "dog"))}).raise_for_status()
    page.goto("/#/datasets/pets")
    expect(page.get_by_label("Check-up")).to_contain_text("once a worker has time")
    images = {one["id"]: one for one in programs.http.get("/datasets/pets/images").json()["data"]}
    cats = [one for one in images.values() if one["class"] == "cat"]
    seen = [finding(one["id"], "cat", one["file"]) for one in cats]
    none = {"unusual_images": [], "unusual_image_count": 0, "rare_classes": []}
    found = none | {
        "near_duplicates": [{"image": seen[1], "like": seen[0], "score": 1.0, "leak": False}],
        "near_duplicate_count": 1,
        "leak_count": 0,
        "wrong_labels": [{"image": seen[2], "suggested": "dog", "score": 0.9}],
        "wrong_label_count": 1,
    }
    with db.write() as session:
        workers.register(session, Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=time.time()))
        claim = queue.claim(session, "worker_a", NOW)
        assert claim is not None
        queue.succeed(session, claim, found, NOW)
    wrong = page.get_by_role("region", name="Perhaps dog?")
    expect(wrong).to_contain_text("Now in cat")
    wait_for(lambda: widths(wrong) == [112], "the thumbnail to be there")
    twice = page.get_by_role("region", name="The same photo twice")
    expect(twice).to_contain_text(f"Like {seen[0]['file']} of cat")
    wrong.get_by_role("button", name="Move it to dog").click()
    expect(row(page, "dog")).to_contain_text("4 photos")
    expect(page.get_by_label("Check-up")).to_contain_text("once a worker has time")  # the new version is checked too
    (moved,) = (one for one in programs.http.get("/datasets/pets/images").json()["data"] if one["id"] == seen[2]["id"])
    assert moved["class"] == "dog"
