"""axe-core finds nothing wrong with any view, light or dark."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from core.artifacts.manifest import to_json
from core.db.database import Database
from core.db.tables import Model
from core.errors import LossNotFinite
from core.repositories import events, jobs
from core.repositories.jobs import Claim
from tests.browser.conftest import Site
from tests.browser.test_try import SEVEN, draw
from tests.conftest import NOW
from tests.service.reports.test_model_page import report_of
from tests.support.datafiles import zipped
from tests.support.setfiles import pets

pytestmark = pytest.mark.browser


def test_nothing_keeps_anybody_from_using_a_view(
    page: Page, programs: Site, published: Callable[..., Model], claimed: Callable[..., Claim], db: Database
) -> None:
    claim = claimed(dataset="digits")
    with db.write() as session:
        for epoch in (1, 2):
            metrics = {"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 9.0, "train_accuracy": 0.5}
            events.append(session, claim.job_id, "metrics", metrics, NOW)
        jobs.fail(session, claim, jobs.describe(LossNotFinite("The loss became nan."), "Traceback ..."), NOW)
    confusion = [[5 * (row == column) + 1 for column in range(10)] for row in range(10)]
    serving = {"file": "model.onnx", "precision": "fp32", "reason": "it is", "latency_ms": {"fp32": {"1": 3.5}}}
    more = {"report.json": to_json(report_of())}
    first, second = (published(confusion_matrix=confusion, serving=serving, more=more) for _ in range(2))
    programs.serve()
    programs.http.post("/datasets?name=pets", files={"file": zipped(pets("cat", "dog"))}).raise_for_status()
    of_one = ("datasets/pets", f"jobs/{claim.job_id}", f"models/{first.id}", f"compare?of={first.id},{second.id}")
    found = []
    for view in ("", "new", "train", "datasets", "jobs", "models", "try", "nothing", *of_one):
        page.goto(f"/#/{view}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        if view == "train":
            page.get_by_text("More", exact=True).click()
        if view == "try":
            draw(page, *SEVEN)
            expect(page.locator(".look-at .label")).to_be_visible()
        found += wrong_in(page, view)
    page.goto(f"/models/{first.id}/report.html")
    found += wrong_in(page, "report")
    assert not found, "\n".join(found)


def wrong_in(page: Page, view: str) -> list[str]:
    wrong = []
    for colours in ("light", "dark"):
        page.emulate_media(color_scheme=colours, reduced_motion="reduce")  # no colour is half way to another
        for one in Axe().run(page).response["violations"]:
            places = [place for node in one["nodes"] for place in node["target"]]
            wrong.append(f"{view}, {colours}: {one['impact']} {one['id']} at {places[:4]}")
    return wrong
