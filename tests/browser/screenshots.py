"""Take the page's pictures in docs/images: ``python -m tests.browser.screenshots``.

They show a running service and worker. Needs a Chromium, as the browser tests do, and takes some minutes.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests import ROOT
from tests.browser.test_try import SEVEN, draw
from tests.integration.conftest import Programs
from tests.support.setfiles import pets

IMAGES = ROOT / "docs" / "images"
PHOTOS = Path(os.environ.get("TUNESERVE_SHARED", IMAGES.parents[2] / "shared")) / "data" / "ants_bees"
NETWORK: dict[str, Any] = {"network": "shufflenet_v2_x0_5", "train_samples": None}
WIDTH, HEIGHT = 1100, 400
PATIENCE_MS = 600_000


def main() -> None:
    expect.set_options(timeout=PATIENCE_MS)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        programs = Programs(Path(folder))
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("TEST_CHROMIUM") or shutil.which("chromium")
        )
        try:
            take(browser, programs)
        finally:
            browser.close()
            programs.stop()


def take(browser: Browser, programs: Programs) -> None:
    programs.start("service")
    programs.start("worker")
    page = browser.new_page(base_url=programs.url, viewport={"width": WIDTH, "height": HEIGHT})
    page.set_default_timeout(PATIENCE_MS)
    show(page, "new")
    expect(page.locator("#health")).to_contain_text("Ready")
    started(page, programs)
    first = programs.train(name="a first try", **NETWORK, epochs=3)
    form(page)
    datasets(page)
    programs.ended(first)
    second = programs.train(name="all digits", **NETWORK, epochs=8)
    running(page, second)
    models = [programs.ended(job)["model_id"] for job in (first, second)]
    programs.served(models[1])
    ended(page, second)
    judged(page, models)
    tried(page)
    small(browser, programs, second)


def started(page: Page, programs: Programs) -> None:
    """Show the first screen, and photos that are sorted on it; train on them."""
    shot(page, "start")
    page.get_by_label("Choose a folder").set_input_files(photos(programs.data_dir / "ants-and-bees"))
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_enabled()
    shot(page, "new")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.locator("main").get_by_role("link", name="Try it")).to_be_visible()
    page.get_by_role("link", name="See how good it is").click()
    expect(page.get_by_text("on test photos it had never seen")).to_be_visible()
    shot(page, "result")
    page.locator("main").get_by_role("link", name="Try it").click()
    page.get_by_label("Choose photos").set_input_files(sorted(PHOTOS.glob("val/*/*.jpg"))[::20][:7])
    expect(page.locator(".tile .sure").last).not_to_be_empty()
    shot(page, "try_photos")


def form(page: Page) -> None:
    show(page, "train")
    page.get_by_text("More", exact=True).click()
    shot(page, "train_more")


def datasets(page: Page) -> None:
    show(page, "datasets")
    shot(page, "datasets")
    show(page, "datasets/ants-and-bees")
    expect(page.locator(".photo img").first).to_be_visible()
    shot(page, "dataset")


def running(page: Page, job: str) -> None:
    show(page, f"jobs/{job}")
    expect(page.get_by_text("Training, epoch 4 of 8")).to_be_visible()
    shot(page, "running")
    show(page, "jobs")
    shot(page, "jobs")


def ended(page: Page, job: str) -> None:
    show(page, f"jobs/{job}")
    expect(page.locator("main .title .tag")).to_have_text("Done")
    page.emulate_media(color_scheme="dark")
    shot(page, "job_dark")
    page.emulate_media(color_scheme="light")
    shot(page, "job")


def judged(page: Page, models: list[str]) -> None:
    show(page, "models")
    shot(page, "models")
    show(page, f"models/{models[1]}")
    expect(page.locator(".confusion .cell")).to_have_count(100)
    shot(page, "model")
    show(page, f"compare?of={','.join(models)}")
    expect(page.locator(".confusion .cell")).to_have_count(200)
    shot(page, "compare")
    page.goto(f"/models/{models[1]}/report.html")
    page.set_viewport_size({"width": WIDTH, "height": 1000})
    shot(page, "report", whole=False)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


def tried(page: Page) -> None:
    show(page, "try")
    draw(page, *SEVEN)
    expect(page.get_by_alt_text("The image as the network saw it")).to_be_visible()
    shot(page, "try")
    page.get_by_label("Show where it looks").check()
    expect(page.get_by_alt_text("Heat map")).to_be_visible()
    shot(page, "saliency_map")


def small(browser: Browser, programs: Programs, job: str) -> None:
    """Take a picture of the page on a phone."""
    page = browser.new_page(base_url=programs.url, viewport={"width": 390, "height": 844})
    page.set_default_timeout(PATIENCE_MS)
    show(page, f"jobs/{job}")
    expect(page.locator("main .title .tag")).to_have_text("Done")
    shot(page, "phone", whole=False)


def photos(into: Path) -> Path:
    """Write a data set of photos and one file that is none.

    The photos are real ones where those are at hand.
    """
    for path in sorted((PHOTOS / "train").glob("*/*.jpg")):
        target = into / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if len(list(target.parent.iterdir())) < 20:
            shutil.copy(path, target)
    if not into.exists():
        for name, data in pets("cat", "dog", each=8).items():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_bytes(data)
    (next(iter(sorted(into.iterdir()))) / "notes.txt").write_text("seen in the garden")
    return into


def show(page: Page, view: str) -> None:
    page.goto(f"/#/{view}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def shot(page: Page, name: str, whole: bool = True) -> None:
    page.screenshot(path=IMAGES / f"{name}.png", full_page=whole)


if __name__ == "__main__":
    main()
