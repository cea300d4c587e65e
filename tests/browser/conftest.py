"""A real Chromium before a real service.

If there is none, these tests skip; in CI that is a failure.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from core.settings import Settings
from tests.conftest import missing, serving
from tests.integration.conftest import Programs

PATIENCE_MS = 90_000  # for a noisy machine; nothing waits so long unless it fails
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # one that is there and allowed
REFUSED = "Failed to load resource"  # the browser's own note on every answer that is an error


class Site(Programs):
    """A service within the test's process, and programs beside it.

    It is the whole service on a socket; a process of its own would import for 2 s of the processor.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.data_dir)
        self._settings = settings
        self._serving = ExitStack()

    def serve(self, **changed: object) -> None:
        """Start the service; it stops before one that is started later."""
        self._serving.close()
        self._serving.enter_context(serving(self._settings.model_copy(update=changed), self.port))

    def stop(self) -> None:
        self._serving.close()
        super().stop()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_checkup_images": 0})  # most tests wait for something else


@pytest.fixture
def programs(settings: Settings) -> Iterator[Site]:
    """A service on the database of `published` and the other factories."""
    settings.data_dir.mkdir(mode=0o700, exist_ok=True)
    programs = Site(settings)
    yield programs
    programs.stop()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """A browser for the tests of this folder.

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
