"""From photos to an answer, in a real browser: dropped, sorted, named, trained on, asked about."""

import re
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Site
from tests.support.setfiles import pets, photo

pytestmark = pytest.mark.browser
MOST_CLICKS = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes in a folder, a file that is no photo, and a photo beside the classes."""
    root = tmp_path / "My Fruit"
    files = pets("apples", "pears", each=12) | {"apples/notes.txt": b"sweet", "loose.png": photo(77)}
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


class Clicks:
    """Counts what a person presses; to choose files is one press."""

    def __init__(self) -> None:
        self.count = 0

    def press(self, place: Locator) -> None:
        self.count += 1
        place.click()

    def choose(self, place: Locator, files: Path) -> None:
        self.count += 1
        place.set_input_files(files)


def row(page: Page, label: str) -> Locator:
    return page.get_by_role("region", name=f"Class {label}")


def given(page: Page, folder: Path) -> None:
    page.goto("/#/new")
    page.get_by_label("Choose a folder").set_input_files(folder)
    expect(page.get_by_role("heading", level=1)).to_have_text("my-fruit")


@pytest.mark.timeout(300)
def test_from_photos_to_an_answered_new_photo_in_six_clicks(
    page: Page, programs: Site, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "loose.png").unlink()
    programs.serve()
    programs.start("worker")
    page.goto("/")
    began = time.monotonic()
    clicks = Clicks()
    clicks.choose(page.get_by_label("Choose a folder"), folder)
    clicks.press(page.get_by_role("button", name="Train", exact=True))
    expect(page).to_have_url(re.compile("#/jobs/job_"))
    clicks.press(page.locator("main").get_by_role("link", name="Try it"))
    clicks.choose(page.get_by_label("Choose photos"), folder / "apples" / "3.png")
    expect(page.get_by_label("Answer", exact=True).locator(".label")).to_have_text(re.compile("apples|pears"))
    with capsys.disabled():
        sys.stdout.write(f"\n{clicks.count} clicks, {time.monotonic() - began:.0f} s\n")
    assert clicks.count <= MOST_CLICKS
    (job,) = programs.jobs()
    assert (job["name"], job["recipe"]["preset"]) == ("my-fruit · quick · #1", "quick")


def test_photos_are_sorted_named_and_left_out_before_any_is_sent(page: Page, programs: Site, folder: Path) -> None:
    programs.serve()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method) if request.method != "GET" else None)
    given(page, folder)
    expect(page.get_by_text("24 photos in 2 classes")).to_be_visible()
    expect(page.get_by_text("Left out: notes.txt: no photo.")).to_be_visible()
    page.get_by_role("group", name="Loose photos").get_by_role("button").click()
    page.get_by_role("button", name="Move to pears").click()
    expect(row(page, "pears")).to_contain_text("13 photos")
    expect(page.get_by_role("group", name="Loose photos")).to_have_count(0)
    photos = row(page, "apples").get_by_role("group").get_by_role("button")
    photos.nth(0).click()
    photos.nth(2).click(modifiers=["Shift"])
    expect(page.get_by_text("3 chosen")).to_be_visible()
    page.get_by_role("button", name="Leave out").click()
    expect(row(page, "apples")).to_contain_text("9 photos")
    page.get_by_role("button", name="Rename the class apples").click()
    page.get_by_role("textbox", name="Rename the class apples").fill("red apples")
    page.keyboard.press("Enter")
    expect(row(page, "red apples")).to_contain_text("9 photos")
    assert asked == []
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page).to_have_url(re.compile("#/jobs/job_"))
    classes = programs.http.get("/datasets/my-fruit").json()["classes"]
    assert {label: sum(of.values()) for label, of in classes.items()} == {"red apples": 9, "pears": 13}


def test_photos_are_chosen_and_moved_by_the_keyboard_alone(page: Page, programs: Site, folder: Path) -> None:
    programs.serve()
    given(page, folder)
    photos = row(page, "apples").get_by_role("group").get_by_role("button")
    photos.first.focus()
    for key in ("Space", "ArrowRight", "Space"):
        page.keyboard.press(key)
    expect(photos.nth(1)).to_be_focused()
    expect(page.get_by_text("2 chosen")).to_be_visible()
    page.keyboard.press("2")
    expect(row(page, "pears")).to_contain_text("14 photos")


def test_one_class_alone_cannot_be_trained_on_and_says_why(page: Page, programs: Site, folder: Path) -> None:
    programs.serve()
    given(page, folder)
    page.get_by_role("button", name="Remove the class pears").click()
    expect(page.get_by_text("Only one class so far: apples.")).to_be_visible()
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_disabled()
    page.get_by_label("Name of a new class").fill("neither")
    page.get_by_role("button", name="Add a class").click()
    page.get_by_label("Add photos of neither").set_input_files(folder / "loose.png")
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_enabled()


def test_a_name_that_is_taken_or_not_allowed_becomes_one_that_is(page: Page, programs: Site, folder: Path) -> None:
    programs.serve()
    page.goto("/#/new")
    page.get_by_label("Choose a folder").set_input_files(folder)
    page.get_by_role("button", name="Rename the data set my-fruit").click()
    page.get_by_role("textbox", name="Rename the data set my-fruit").fill("Frühstück!")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Small letters, digits and dashes only. It is fr-hst-ck now.")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("fr-hst-ck")


def test_photos_outlive_a_look_elsewhere(page: Page, programs: Site, folder: Path) -> None:
    programs.serve()
    given(page, folder)
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_text("No job yet")).to_be_visible()
    page.get_by_role("link", name="New model").click()
    expect(page.get_by_text("24 photos in 2 classes")).to_be_visible()


def test_without_a_worker_the_page_says_that_nothing_trains(page: Page, programs: Site, folder: Path) -> None:
    programs.serve()
    given(page, folder)
    expect(page.get_by_text("No worker is running, so nothing trains.")).to_be_visible()
    expect(page.get_by_text("tuneserve worker")).to_be_visible()
