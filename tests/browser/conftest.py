"""A real Chromium before a real service.

If there is none, these tests skip; in CI that is a failure.
"""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.conftest import missing
from tests.integration.conftest import Programs, programs

__all__ = ["programs"]  # the fixture

PATIENCE_MS = 90_000  # for a noisy machine; nothing waits so long unless it fails
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # one that is there and allowed
REFUSED = "Failed to load resource"  # the browser's own note on every answer that is an error


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for one module's tests.

    While Playwright runs, it holds an event loop that other tests need.
    """
    path = os.environ.get("TEST_CHROMIUM") or shutil.which("chromium")
    if path is None:
        missing("there is no chromium, and TEST_CHROMIUM names none")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CAMERA)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, programs: Programs) -> Iterator[Page]:
    """An empty tab whose scripts must end without complaints.

    The content policy must have none either.
    """
    tab = chromium.new_page(base_url=programs.url)
    tab.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(REFUSED):
            complaints.append(message.text)

    tab.on("console", listen)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    yield tab
    tab.close()
    assert complaints == []
