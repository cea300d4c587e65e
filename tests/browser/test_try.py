"""The view "Try it" in a real browser.

The image is drawn, chosen, pasted, dropped or photographed.
"""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from core.db.tables import Model
from tests.browser.conftest import Site
from tests.conftest import DIGIT_FILES
from tests.integration.conftest import wait_for
from tests.support.datafiles import zipped
from tests.support.fakes import DIGIT_PREPARATION, tiny_onnx
from tests.support.setfiles import pets

pytestmark = pytest.mark.browser
Published = Callable[..., Model]
SEVEN = ((0.3, 0.25), (0.7, 0.25), (0.45, 0.8))  # strokes on a sheet of side 1


def draw(page: Page, *places: tuple[float, float]) -> None:
    box = page.locator("canvas").bounding_box()
    assert box is not None
    x, y, width, height = box["x"], box["y"], box["width"], box["height"]
    page.mouse.move(x + places[0][0] * width, y + places[0][1] * height)
    page.mouse.down()
    for across, down in places[1:]:
        page.mouse.move(x + across * width, y + down * height, steps=8)
    page.mouse.up()


def answer(page: Page) -> Locator:
    return page.get_by_label("Answer", exact=True)


def test_a_drawn_seven_is_read(page: Page, programs: Site, published: Published) -> None:
    published()
    programs.serve()
    page.goto("/#/try")
    draw(page, *SEVEN)
    expect(answer(page).locator(".label")).to_have_text("7")
    expect(answer(page).get_by_role("listitem")).to_have_count(6)  # five classes, and the others as one
    expect(answer(page).get_by_text("5 others")).to_be_visible()
    expect(answer(page).get_by_role("link", name="digits/1")).to_be_visible()
    expect(answer(page).get_by_alt_text("The image as the network saw it")).to_be_visible()
    page.get_by_label("Show where it looks").check()
    expect(answer(page).get_by_alt_text("Heat map")).to_be_visible()


def test_an_image_is_chosen_pasted_or_dropped(page: Page, programs: Site, published: Published) -> None:
    published()
    programs.serve()
    page.goto("/#/try")
    page.get_by_label("Choose photos").set_input_files(DIGIT_FILES[3])
    expect(answer(page).locator(".label")).to_have_text("3")
    for event, target, digit in (("paste", "body", 4), ("drop", ".drop", 5)):
        give(page, event, target, digit)
        expect(answer(page).locator(".label")).to_have_text(str(digit))


def give(page: Page, event: str, target: str, digit: int) -> None:
    """Dispatch the event that brings an image, as the browser does."""
    page.locator(target).evaluate(
        """(node, [name, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "digit.png", { type: "image/png" }));
            const kinds = { paste: ["clipboardData", ClipboardEvent], drop: ["dataTransfer", DragEvent] };
            const [field, Kind] = kinds[name];
            node.dispatchEvent(new Kind(name, { [field]: transfer, bubbles: true, cancelable: true }));
        }""",
        [event, list(DIGIT_FILES[digit].read_bytes())],
    )


def test_an_empty_sheet_is_no_digit(page: Page, programs: Site, published: Published) -> None:
    published()
    programs.serve()
    page.goto("/#/try")
    page.locator("canvas").evaluate("sheet => sheet.dispatchEvent(new PointerEvent('pointerup'))")
    expect(answer(page)).to_have_text("Drop, paste or choose photos")
    draw(page, (0.5, 0.5))  # a dot
    expect(answer(page).get_by_role("link", name="digits/1")).to_be_visible()


def test_a_finger_draws_too(page: Page, programs: Site, published: Published) -> None:
    published()
    programs.serve()
    page.goto("/#/try")
    box = page.locator("canvas").bounding_box()
    assert box is not None
    touch = page.context.new_cdp_session(page)
    for event, (across, down) in zip(("touchStart", "touchMove", "touchMove"), SEVEN, strict=True):
        point = {"x": box["x"] + across * box["width"], "y": box["y"] + down * box["height"]}
        touch.send("Input.dispatchTouchEvent", {"type": event, "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(answer(page).locator(".label")).to_have_text("7")


def test_another_model_is_asked_about_the_same_image(page: Page, programs: Site, published: Published) -> None:
    published(onnx=tiny_onnx(always(3)))
    published()
    programs.serve()
    page.goto("/#/try")
    page.get_by_label("Choose photos").set_input_files(DIGIT_FILES[7])
    expect(answer(page).locator(".label")).to_have_text("7")
    page.get_by_label("Model").select_option(label="digits/1 · resnet18 on digits")
    expect(answer(page).locator(".label")).to_have_text("3")
    expect(answer(page).get_by_role("link", name="digits/1")).to_be_visible()


def always(digit: int) -> "np.typing.NDArray[np.float32]":
    """Weights that make every drawing that digit."""
    weights = np.zeros((28 * 28, 10), np.float32)
    weights[:, digit] = 1
    return weights


def test_where_there_is_no_digit_the_model_abstains_and_says_why(
    page: Page, programs: Site, published: Published
) -> None:
    published()
    programs.serve()
    page.goto("/#/try")
    sheet = io.BytesIO()
    Image.new("L", (60, 60), 255).save(sheet, "PNG")
    page.get_by_label("Choose photos").set_input_files(
        {"name": "empty.png", "mimeType": "image/png", "buffer": sheet.getvalue()}
    )
    expect(answer(page).locator(".label s")).to_have_text("no digit")
    expect(answer(page).get_by_text("Not sure: ")).to_be_visible()


def test_the_camera_of_a_laptop_takes_a_photo(page: Page, programs: Site, published: Published) -> None:
    published()
    programs.serve()
    page.goto("/#/try")
    photo = page.get_by_role("button", name="Take a photo")
    photo.click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    photo.click()
    page.get_by_role("dialog").get_by_role("button", name="Take it").click()
    expect(answer(page).get_by_alt_text("The image that was sent")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_where_no_camera_can_be_had_a_file_will_do(page: Page, programs: Site, published: Published) -> None:
    published()
    programs.serve()
    page.add_init_script("navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('no camera'))")
    page.goto("/#/try")
    page.get_by_role("button", name="Take a photo").click()
    expect(page.get_by_text("choose a photo as a file")).to_be_visible()
    page.get_by_label("Take a photo").set_input_files(DIGIT_FILES[4])
    expect(answer(page).locator(".label")).to_have_text("4")


def test_the_model_that_was_clicked_answers_and_only_digits_are_drawn(
    page: Page, programs: Site, published: Published
) -> None:
    plain = DIGIT_PREPARATION.model_dump(mode="json") | {"style": "plain"}
    first = published(name="plain", preparation=plain, onnx=tiny_onnx(always(3)))
    digits = published()
    programs.serve()
    programs.served(digits.id)
    page.goto(f"/#/models/{first.id}")
    page.locator("main").get_by_role("link", name="Try it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Try plain")
    expect(page.locator("canvas")).to_be_hidden()
    page.get_by_label("Choose photos").set_input_files([DIGIT_FILES[3], DIGIT_FILES[5]])
    expect(answer(page).get_by_role("link", name="plain/1")).to_be_visible()
    expect(page.get_by_role("button", name="Look at this one")).to_have_count(2)
    page.get_by_label("Model").select_option(label="digits/1 · resnet18 on digits")
    expect(page.locator("canvas")).to_be_visible()


def test_on_a_phone_photo_and_answer_are_the_first_to_be_seen(page: Page, programs: Site, published: Published) -> None:
    published()
    programs.serve()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/#/try")
    page.get_by_label("Choose photos").set_input_files(DIGIT_FILES[7])
    expect(answer(page).locator(".label")).to_be_in_viewport()
    expect(answer(page).get_by_alt_text("The image that was sent")).to_be_in_viewport()


def test_a_wrong_answer_is_put_right_and_taken_back(page: Page, programs: Site, published: Published) -> None:
    published(name="pets", dataset="pets", classes=["cat", "dog", *map(str, range(8))])
    programs.serve()
    programs.http.post("/datasets?name=pets", files={"file": zipped(pets("cat", "dog"))}).raise_for_status()
    page.goto("/#/try")
    page.get_by_label("Choose photos").set_input_files(DIGIT_FILES[7])
    answer(page).get_by_role("button", name="dog", exact=True).click()
    expect(page.get_by_text("Kept as dog.")).to_be_visible()
    assert programs.http.get("/datasets/pets").json()["classes"]["dog"]["train"] == 4
    page.get_by_role("button", name="Undo").click()
    wait_for(lambda: programs.http.get("/datasets/pets").json()["version"] == 1, "the version to be taken back")
    assert programs.http.get("/datasets/pets").json()["classes"]["dog"]["train"] == 3
