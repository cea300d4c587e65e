"""The page as a person uses it, in a real browser.

The service, its models and the worker are real too.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, Response, expect
from pydantic import SecretStr

from core.artifacts.manifest import to_json
from core.db.database import Database
from core.db.tables import Model, Phase
from core.errors import LossNotFinite, WeightsUnavailable
from core.repositories import events, jobs
from core.repositories.jobs import Claim
from tests.browser.conftest import Site
from tests.conftest import DIGIT_FILES
from tests.integration.conftest import wait_for
from tests.service.reports.test_model_page import report_of
from tests.support.datafiles import zipped
from tests.support.fakes import NO_GRAPH
from tests.support.setfiles import pets

pytestmark = pytest.mark.browser
Published = Callable[..., Model]
FIRST_VIEW_BYTES = 150_000
KEY = "ts_a_key_that_only_this_test_knows_of"


def fill_in(page: Page, **fields: str) -> None:
    for name, value in fields.items():
        if name == "preset":
            page.locator(f"[name=preset][value={value}]").check()
            continue
        field = page.locator(f"[name={name}]")
        if field.evaluate("node => node.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def status(page: Page) -> Locator:
    return page.locator("main .title .tag")


def told(page: Page) -> Locator:
    """The sentences of a job's story."""
    return page.locator(".story .said")


# -- jobs


def test_the_form_starts_the_job_that_was_asked_for(page: Page, programs: Site) -> None:
    programs.serve()
    page.goto("/#/train")
    fill_in(page, dataset="digits", network="shufflenet_v2_x0_5", weights="random", epochs="2", seed="7")
    page.get_by_text("More", exact=True).click()
    fill_in(page, batch_size="64", name="7 from the page", compile="false", metadata="author: me\nfor: the test: all")
    page.get_by_label("patience").fill("5")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("7 from the page")).to_be_visible()
    recipe = programs.job(page.url.split("/")[-1])["recipe"]
    asked = {"dataset": "digits", "network": "shufflenet_v2_x0_5", "epochs": 2, "seed": 7, "batch_size": 64}
    more = {"compile": False, "metadata": {"author": "me", "for": "the test: all"}, "webhook": None}
    assert {name: recipe[name] for name in (*asked, *more)} == asked | more
    assert recipe["early_stopping"] == {"patience": 5, "min_delta": 0}


def test_the_preset_quick_has_its_own_defaults_in_the_form_too(page: Page, programs: Site) -> None:
    programs.serve()
    page.goto("/#/train?dataset=digits")
    page.get_by_text("More", exact=True).click()
    fill_in(page, preset="quick", name="seen at once")
    expect(page.locator("[name=network] option:checked")).to_have_text("chosen by how it learns")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_text("seen at once")).to_be_visible()
    recipe = programs.job(page.url.split("/")[-1])["recipe"]
    given = {"preset": "quick", "dataset": "digits", "network": "efficientnet_lite0", "weights": "imagenet"}
    preset = {"freeze": "backbone", "optimizer": "lbfgs", "augmentation": "none"}
    assert {name: recipe[name] for name in (*given, *preset)} == given | preset


def test_every_entry_of_the_recipe_has_a_field_that_suits_the_network(page: Page, programs: Site) -> None:
    programs.serve()
    page.goto("/#/train?dataset=digits")
    expect(page.get_by_label("Data set", exact=True)).to_have_value("digits")
    schema = programs.http.get("/networks/resnet50").json()["properties"]
    names = set(page.locator("main [name]").evaluate_all("all => all.map(one => one.name.split('.')[0])"))
    assert names == set(schema)
    labels = page.locator("form .grid label").all_text_contents()
    assert len(labels) == len(set(labels))
    assert [text for text in labels if "_" in text or text[0].islower()] == []
    assert page.locator("form .hint").filter(has_text=re.compile("GET |PUT |null")).all_text_contents() == []
    page.get_by_text("More", exact=True).click()
    fill_in(page, freeze="until:layer3", momentum="0.5", network="vgg11")
    freeze = page.get_by_label("Freeze", exact=True)
    expect(freeze.locator("option", has_text="layer3")).to_have_count(0)
    expect(freeze).to_have_value("none")
    expect(page.get_by_label("momentum")).to_have_value("0.5")


def test_what_is_wrong_with_a_recipe_stands_beside_its_field(page: Page, programs: Site) -> None:
    programs.serve()
    page.goto("/#/train")
    page.get_by_text("More", exact=True).click()
    fill_in(page, epochs="0", train_samples="many", batch_size="1", metadata=f"{'a' * 65}: b")
    page.locator("[name='webhook.url']").fill("ftp://example.com")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.locator("#epochs-error")).to_have_text('must be 1 to 10000, or "auto"')
    expect(page.locator("#train_samples-error")).to_contain_text("valid integer")
    expect(page.locator("#batch_size-error")).to_have_text('must be 2 to 65536, or "auto"')
    expect(page.locator("#metadata-error")).to_contain_text("64 characters")
    expect(page.locator("[id='webhook.url-error']")).not_to_be_empty()
    expect(page.get_by_label("epochs")).to_be_focused()
    assert programs.http.get("/jobs").json()["data"] == []


def test_a_job_rests_goes_on_is_cancelled_and_tried_again(page: Page, programs: Site) -> None:
    programs.serve()
    job_id = programs.train()
    page.goto(f"/#/jobs/{job_id}")
    for press, becomes in (("Pause", "Paused"), ("Resume", "Waiting"), ("Stop", "Stopped")):
        page.get_by_role("button", name=press).click()
        expect(status(page)).to_have_text(becomes)
    page.get_by_role("button", name="Try again").click()
    expect(status(page)).to_have_text("Waiting")
    assert page.url.split("/")[-1] != job_id


def test_a_running_job_that_shall_pause_says_so(page: Page, programs: Site, claimed: Callable[..., Claim]) -> None:
    claim = claimed()
    programs.serve()
    page.goto(f"/#/jobs/{claim.job_id}")
    for press, becomes in (("Pause", "Pausing"), ("Resume", "Running")):
        page.get_by_role("button", name=press).click()
        expect(status(page)).to_have_text(becomes)


def test_a_job_is_watched_from_the_queue_to_its_model(page: Page, programs: Site) -> None:
    programs.serve()
    page.goto(f"/#/jobs/{programs.train()}")
    expect(told(page)).to_have_count(1)
    programs.start("worker")
    expect(status(page)).to_have_text("Done")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"^\d+ of \d+ right$"))
    expect(page.locator(".chart polyline")).to_have_count(8)  # two lines in each chart, and in its legend
    expect(page.locator(".chart svg[role=img] circle")).to_have_count(8)  # of two epochs
    expect(told(page).last).to_have_text("succeeded")
    page.get_by_text("What happened").click()
    took = page.get_by_label("Phases of attempt 1").get_by_role("row")
    expect(took).to_have_text([re.compile(name) for name in ("Phase", *phases(programs, page))])
    expect(took.last).to_contain_text(re.compile(r"\d.s"))
    expect(page.locator(".story time").first).to_have_text(re.compile(r"\d:\d\d"))
    expect(page.get_by_label("100 % of the training is done")).to_be_visible()
    page.get_by_text("Log", exact=True).click()
    expect(page.get_by_label("The trainer's output")).to_contain_text("epoch 2 of 2")
    page.get_by_role("link", name="See how good it is").click()
    check_model_page(page)


def phases(programs: Site, page: Page) -> list[str]:
    return [phase["phase"].replace("_", " ") for phase in programs.job(page.url.split("/")[-1])["phases"]]


def test_a_running_job_is_drawn_and_described_before_its_first_epoch_ends(
    page: Page, programs: Site, claimed: Callable[..., Claim], db: Database
) -> None:
    claim = claimed()
    programs.serve()
    page.goto(f"/#/jobs/{claim.job_id}")
    expect(page.get_by_text("No figure yet.")).to_have_count(2)
    figures = {"train_loss": 1.5, "train_accuracy": 0.625}
    at = {"epoch": 1, "epochs": 2, "step": 5, "steps": 20, "percent": 25.0}
    row = {"progress": at, "metrics": figures, "timing": {"images_per_s": 812.4}, "device": {"name": "a fast one"}}
    with db.write() as session:
        jobs.record(session, claim, phase=Phase.TRAINING, estimated_finish=time.time() + 3600, **row)
    facts = page.locator(".facts")
    for text in ("train loss1.5", "62.50 %", "812 images/s", "a fast one", "time leftabout 59 min"):
        expect(facts).to_contain_text(text)
    dots = page.locator(".chart svg[role=img] circle")
    expect(dots).to_have_count(2)  # where it is now, in each chart
    with db.write() as session:
        events.append(session, claim.job_id, "step", at | {"step": 2} | figures, time.time())
        events.append(session, claim.job_id, "step", at | {"step": 4} | figures, time.time())
    line = page.locator(".chart svg[role=img] polyline").first
    expect(line).to_have_attribute("points", re.compile(r"^\S+ \S+ \S+$"))
    expect(dots).to_have_count(2)
    expect(told(page)).to_have_text(["queued", "running · attempt 1"])


def test_one_wild_validation_loss_does_not_flatten_the_curve(
    page: Page, programs: Site, claimed: Callable[..., Claim], db: Database
) -> None:
    claim = claimed()
    with db.write() as session:
        for epoch, loss, validation in ((1, 2.3, 2.4), (2, 1.5, 39.0), (3, 1.2, 1.1)):
            metrics = {"epoch": epoch, "train_loss": loss, "validation_loss": validation}
            events.append(session, claim.job_id, "metrics", metrics, time.time())
    programs.serve()
    page.goto(f"/#/jobs/{claim.job_id}")
    chart = page.get_by_role("img", name="Loss by epoch")
    expect(chart.get_by_text("↑ 39")).to_be_visible()
    epochs, losses = ["1", "2", "3"], ["1", "2", "3", "4", "5"]
    assert chart.locator("text").all_text_contents() == [*epochs, "epoch", *losses, "↑ 39"]
    expect(chart.locator("ellipse title")).to_have_text("best")
    chart.press("ArrowLeft")  # reads the last epoch
    chart.press("ArrowLeft")
    expect(page.locator(".readout").filter(visible=True)).to_have_text("epoch 2learning1.5checking39")


def check_model_page(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("digits, version 1")
    model: dict[str, Any] = httpx.get(re.sub(r"#.*", "models/digits@latest", page.url)).json()
    expect(page.locator(".confusion .cell")).to_have_count(100)
    counts = [count for count in page.locator(".confusion .cell").all_text_contents() if count != "·"]
    assert sum(map(int, counts)) == sum(map(sum, model["confusion_matrix"]))
    expect(page.locator(".facts")).to_contain_text(f"{100 * model['test_accuracy']:.2f} %")
    test = model["test"]
    expect(page.get_by_role("heading", name=f"{test['correct']} of {test['images']} right")).to_be_visible()
    ends = f"{100 * test['low']:.0f} to {100 * test['high']:.0f} %"
    expect(page.get_by_role("img", name=f"{ends} right expected")).to_be_visible()
    pictures = page.locator(".mistakes img")
    expect(pictures.first).to_be_visible()
    assert pictures.evaluate_all("all => all.every((one) => one.naturalWidth === 28)")


def test_why_a_job_failed_and_what_to_do_is_told(
    page: Page, programs: Site, claimed: Callable[..., Claim], db: Database
) -> None:
    claim = claimed()
    programs.serve()
    page.goto(f"/#/jobs/{claim.job_id}")
    expect(status(page)).to_have_text("Running")
    with db.write() as session:
        jobs.fail(session, claim, jobs.describe(LossNotFinite("The loss became nan.")), time.time())
    expect(status(page)).to_have_text("Failed")
    why = page.get_by_role("alert").filter(has_text="For the administrator")
    expect(why).to_contain_text("loss_not_finite")
    expect(why).to_contain_text("Lower the learning_rate")


def test_a_failed_job_is_tried_again(page: Page, programs: Site, claimed: Callable[..., Claim], db: Database) -> None:
    claim = claimed()
    with db.write() as session:
        jobs.fail(session, claim, jobs.describe(LossNotFinite("The loss became nan.")), time.time())
    programs.serve()
    page.goto(f"/#/jobs/{claim.job_id}")
    expect(page.get_by_role("alert")).to_contain_text("The loss became nan.")
    page.get_by_role("button", name="Try again").click()
    expect(status(page)).to_have_text("Waiting")
    expect(page.get_by_role("alert")).to_have_count(0)
    assert claim.job_id not in page.url


def test_a_failed_job_is_edited_and_trained_again_in_two_clicks(
    page: Page, programs: Site, claimed: Callable[..., Claim], db: Database
) -> None:
    claim = claimed(dataset="digits", network="resnet18", epochs=7, metadata={"author": "me"}, weights="random")
    with db.write() as session:
        jobs.fail(session, claim, jobs.describe(LossNotFinite("The loss became nan.")), time.time())
    programs.serve()
    page.goto(f"/#/jobs/{claim.job_id}")
    page.get_by_role("link", name="Edit and train again").click()
    expect(page.get_by_label("Epochs", exact=True)).to_have_value("7")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(status(page)).to_have_text("Waiting")
    first, second = programs.job(claim.job_id)["recipe"], programs.job(page.url.split("/")[-1])["recipe"]
    same = ("dataset", "network", "epochs", "metadata", "weights", "preset")
    assert {name: second[name] for name in same} == {name: first[name] for name in same}


def test_a_failed_job_offers_what_would_run(
    page: Page, programs: Site, claimed: Callable[..., Claim], db: Database
) -> None:
    claim = claimed(dataset="digits", network="resnet18")
    with db.write() as session:
        jobs.fail(session, claim, jobs.describe(WeightsUnavailable("They are not here.")), time.time())
    programs.serve()
    page.goto(f"/#/jobs/{claim.job_id}")
    expect(page.get_by_role("alert")).to_contain_text("The ready-made weights of resnet18 are not on this machine")
    page.get_by_role("button", name="Train with Quick").click()
    expect(status(page)).to_have_text("Waiting")
    assert programs.job(page.url.split("/")[-1])["recipe"]["preset"] == "quick"


def test_a_waiting_job_says_why_it_waits_and_its_place(page: Page, programs: Site) -> None:
    programs.serve()
    first, second = programs.train(name="one"), programs.train(name="two")
    page.goto(f"/#/jobs/{second}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Number 2 in line")
    expect(page.locator("main").get_by_text("No worker is running, so nothing trains.")).to_be_visible()
    page.goto(f"/#/jobs/{first}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Next in line")


def test_a_training_job_is_cancelled_with_and_without_its_best_epoch(
    page: Page, programs: Site, claimed: Callable[..., Claim], published: Published, db: Database
) -> None:
    """What a trainer does when it is asked so, tests/integration/test_control.py tells."""
    model = published()
    programs.serve()
    for press, asked, leads in (("Stop and keep the best", "keep", 1), ("Stop", None, 0)):
        claim = claimed()
        page.goto(f"/#/jobs/{claim.job_id}")
        page.get_by_role("button", name=press, exact=True).click()
        expect(status(page)).to_have_text("Stopping")
        with db.write() as session:
            assert jobs.heartbeat(session, claim, time.time()).requested_action == asked
            if asked:
                jobs.succeed(session, claim, model.id, time.time())
            else:
                jobs.cancelled(session, claim, time.time())
        expect(status(page)).to_have_text("Stopped")
        expect(page.get_by_role("link", name="Try it")).to_have_count(leads)


def test_the_story_goes_on_after_a_restart_and_tells_nothing_twice(page: Page, programs: Site) -> None:
    programs.serve()
    job_id = programs.train()
    page.goto(f"/#/jobs/{job_id}")
    expect(told(page)).to_have_text(["queued"])
    programs.serve()
    programs.http.post(f"/jobs/{job_id}/pause").raise_for_status()
    expect(told(page)).to_have_text(["queued", "paused"])


def test_what_others_wrote_is_text_and_never_a_tag(page: Page, programs: Site) -> None:
    programs.serve()
    name = "<img src=x onerror=alert(1)>"
    programs.train(name=name)
    page.goto("/#/jobs")
    page.get_by_role("link", name=name).click()
    expect(page.locator("main .title .soft")).to_contain_text(name)
    expect(page.locator("main img")).to_have_count(0)


# -- models


def test_a_model_is_promoted_and_rolled_back(page: Page, programs: Site, published: Published) -> None:
    first, second = published(), published()
    programs.serve()
    programs.served(second.id)
    page.goto("/#/models")
    page.get_by_role("button", name="Let digits/1 answer").click()
    expect(page.get_by_role("button", name="Let digits/2 answer")).to_be_visible()
    programs.served(first.id)
    page.get_by_role("button", name="Back to digits/2").click()
    expect(page.get_by_role("button", name="Let digits/1 answer")).to_be_visible()
    programs.served(second.id)


def test_a_refused_model_is_told_of(page: Page, programs: Site, published: Published) -> None:
    published()
    broken = published(onnx=NO_GRAPH, publish="manual")
    programs.serve()
    page.goto(f"/#/models/{broken.id}")
    page.get_by_role("button", name="Let it answer").click()
    expect(page.get_by_text("digits/2 was refused")).to_be_visible()


def test_two_models_stand_side_by_side(page: Page, programs: Site, published: Published) -> None:
    serving = {"file": "model.onnx", "precision": "fp32", "latency_ms": {"fp32": {"1": 3.5, "8": 21.0}}}
    confusion = [[1 + 4 * (row == column) for column in range(10)] for row in range(10)]
    more = {"report.json": to_json(report_of())}
    published(accuracy=0.9, network="resnet18", serving=serving, confusion_matrix=confusion, more=more)
    published(accuracy=0.95, network="resnet50")
    programs.serve()
    page.goto("/#/models")
    compare = page.get_by_role("button", name="Compare")
    expect(compare).to_be_disabled()
    for version in (1, 2):
        page.get_by_label(f"Compare digits/{version}").check()
    compare.click()
    rows = page.get_by_role("row")
    expect(rows.filter(has_text="network")).to_contain_text("resnet50")
    expect(rows.filter(has_text="test accuracy")).to_have_text(re.compile("95.00.%.*90.00.%|90.00.%.*95.00.%"))
    for name, value in (("one image", "3.50.ms"), ("8 images", "21.ms"), ("size", r"\d+.kB.*\d+.kB")):
        expect(rows.filter(has_text=name)).to_contain_text(re.compile(value))
    expect(page.locator(".confusion .cell")).to_have_count(100)
    expect(page.get_by_alt_text("Image of ant, taken for bee")).to_be_visible()
    expect(page.get_by_text("Not recorded.")).to_have_count(2)  # of the other one: confusion and mistakes


def test_a_models_report_opens_beside_the_page_and_with_a_key_is_saved(
    page: Page, programs: Site, published: Published
) -> None:
    model = published(more={"report.json": to_json(report_of())})
    programs.serve()
    page.goto(f"/#/models/{model.id}")
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Report", exact=True).click()
    report = opened.value
    expect(report.get_by_role("heading", level=1)).to_have_text("digits/1: resnet18 on ants")
    assert report.locator("main").evaluate("node => getComputedStyle(node).maxWidth") == "960px"  # its style is let in
    shown = "all => all.map(image => image.complete && image.naturalWidth > 0)"
    assert report.locator("img").evaluate_all(shown) == [True] * 4
    page.evaluate("sessionStorage.setItem('tuneserve-api-key', 'any')")
    page.reload()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the report").click()
    assert saved.value.suggested_filename == f"{model.id}.html"
    assert "digits/1: resnet18 on ants" in saved.value.path().read_text()


def test_the_sample_of_a_model_runs_as_it_stands(
    page: Page, programs: Site, published: Published, tmp_path: Path
) -> None:
    model = published()
    programs.serve()
    page.goto(f"/#/models/{model.name}/{model.version}")
    page.get_by_text("Use it", exact=True).click()
    text = page.get_by_label("Python sample", exact=True).inner_text()
    shutil.copy(DIGIT_FILES[7], tmp_path / "photo.jpg")
    ran = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ran.stdout.strip(), ran.stderr) == ("7", "")
    with page.expect_download() as saved:
        page.get_by_role("link", name="ONNX").click()
    assert saved.value.suggested_filename == f"{model.id}.onnx"
    assert saved.value.path().stat().st_size == model.card["files"]["model.onnx"]["size_bytes"]


# -- for everybody


def test_a_key_opens_the_page_where_keys_are_set(page: Page, programs: Site) -> None:
    programs.serve(api_keys=SecretStr(f"me:admin:{KEY}"))
    with httpx.Client(base_url=programs.url, headers={"Authorization": f"Bearer {KEY}"}) as http:
        job_id = http.post("/jobs", json={}).raise_for_status().json()["id"]
    page.goto(f"/#/jobs/{job_id}")
    for key in ("ts_wrong", KEY):
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Use this key").click()
        if key != KEY:
            expect(page.get_by_text("This API key is not known")).to_be_visible()
    expect(status(page)).to_have_text("Waiting")
    expect(told(page)).to_have_text(["queued"])  # the stream carries the key too
    page.reload()
    expect(status(page)).to_have_text("Waiting")


def test_a_key_is_forgotten_on_request(page: Page, programs: Site) -> None:
    programs.serve(api_keys=SecretStr(f"me:admin:{KEY}"))
    page.goto("/#/jobs")
    page.get_by_label("Key", exact=True).fill(KEY)
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_text("No job yet")).to_be_visible()
    page.get_by_role("button", name="API key").click()
    page.get_by_label("Key", exact=True).fill("")
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("dialog")).to_contain_text(re.compile("needs? a key|API key"))
    assert page.evaluate("sessionStorage.length") == 0
    page.keyboard.press("Escape")
    expect(page.get_by_text("No job yet")).to_have_count(0)


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_view_fits_a_phone(page: Page, programs: Site, published: Published, colours: Any) -> None:
    model = published()
    published()
    programs.serve()
    page.set_viewport_size({"width": 360, "height": 740})
    page.emulate_media(color_scheme=colours)
    job, pair = programs.train(name="a job with a rather long name"), f"{model.id},model_2"
    sent = zipped(pets("a class with a rather long name", "dog"))
    programs.http.post("/datasets?name=pets", files={"file": sent}).raise_for_status()
    of_one = ("datasets/pets", f"jobs/{job}", f"models/{model.id}", f"compare?of={pair}")
    for view in ("train", "datasets", "jobs", "models", "try", "nothing", *of_one):
        page.goto(f"/#/{view}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 360, view


def test_the_keyboard_reaches_the_content_and_views_tell_that_they_came(page: Page, programs: Site) -> None:
    programs.serve()
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.get_by_role("link", name="Jobs").press("Enter")
    expect(page.get_by_text("No job yet")).to_be_visible()
    expect(page.locator("main")).to_be_focused()
    expect(page).to_have_title("Jobs · tuneserve")
    expect(page.locator("[aria-current=page]")).to_have_text("Jobs")


def test_the_page_asks_nobody_but_the_service(page: Page, programs: Site) -> None:
    programs.serve()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    wait_for(lambda: any(url.endswith("/readyz") for url in asked), "the page to ask how the service is")
    assert [url for url in asked if not url.startswith(programs.url)] == []
    loaded = page.evaluate("document.fonts.ready.then(all => [...all].map(one => [one.family, one.status]))")
    assert loaded == [["Hanken Grotesk", "loaded"]]


def test_the_first_view_is_small(page: Page, programs: Site) -> None:
    programs.serve()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Teach it with your photos")
    page.evaluate("document.fonts.ready")
    sizes = {answer.url: len(answer.body()) for answer in answers if answer.ok}
    assert sum(sizes.values()) < FIRST_VIEW_BYTES, sizes


def test_the_steps_of_a_job_lead_to_its_photos_and_its_model(page: Page, programs: Site, published: Published) -> None:
    model = published()
    programs.serve()
    page.goto(f"/#/jobs/{programs.train()}")
    steps = page.get_by_label("Steps of digits")
    expect(steps.locator("[aria-current=step]")).to_contain_text("Train")
    expect(steps.get_by_role("link")).to_have_text("Photos")  # there is nothing to try yet
    page.goto(f"/#/models/{model.id}")
    steps.get_by_role("link", name="Try").click()
    expect(page).to_have_url(re.compile(f"#/try\\?model={model.id}$"))
    page.goto("/#/jobs")
    expect(steps).to_be_hidden()
