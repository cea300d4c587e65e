"""The check-up of a data set: asked for with each version, read and repeated."""

from typing import Any

import httpx
import pytest

from core.checkups import queue
from core.checkups.queue import Claim
from core.db.database import Database
from core.settings import Settings
from service.datasets.builder import Builder
from tests.conftest import NOW
from tests.support.builds import build_here
from tests.support.datafiles import zipped
from tests.support.setfiles import pets

CHECKUP = "/datasets/pets/checkup"
SEEN = {"id": 4, "class": "cat", "part": "train", "file": "a.png"}
FOUND: dict[str, Any] = {
    "near_duplicates": [{"image": SEEN | {"id": 5, "part": "test"}, "like": SEEN, "score": 0.99, "leak": True}],
    "near_duplicate_count": 1,
    "leak_count": 1,
    "wrong_labels": [{"image": SEEN, "suggested": "dog", "score": 0.5}],
    "wrong_label_count": 1,
    "unusual_images": [{"image": SEEN, "score": 0.7}],
    "unusual_image_count": 1,
    "rare_classes": [{"class": "dog", "images": 1, "largest": 9}],
}


@pytest.fixture
def allowed() -> int:
    return 100


@pytest.fixture
def settings(settings: Settings, allowed: int) -> Settings:
    return settings.model_copy(update={"max_checkup_images": allowed})


@pytest.fixture(autouse=True)
def _build_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Builder, "build", build_here)


async def upload(http: httpx.AsyncClient) -> None:
    asked: dict[str, str | bool] = {"name": "pets", "replace": True}
    body = zipped(pets("cat", "dog"))
    answer = await http.post("/datasets", params=asked, content=body, headers={"Content-Type": "application/zip"})
    assert answer.status_code == 201, answer.text


def claim(db: Database) -> Claim:
    with db.write() as session:
        claimed = queue.claim(session, "worker_a", NOW)
    assert claimed is not None
    return claimed


async def shown(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get(CHECKUP)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_an_upload_is_checked_and_what_was_found_is_shown(http: httpx.AsyncClient, db: Database) -> None:
    await upload(http)
    assert ((await shown(http))["state"], (await shown(http))["findings"]) == ("waiting", None)
    claimed = claim(db)
    with db.write() as session:
        queue.record(session, claimed, NOW, images=6)
    assert {"dataset": "pets", "version": 1, "state": "running", "images": 6}.items() <= (await shown(http)).items()
    with db.write() as session:
        queue.succeed(session, claimed, FOUND, NOW)
    assert ((await shown(http))["state"], (await shown(http))["findings"]) == ("done", FOUND)
    await http.post(CHECKUP)
    assert ((await shown(http))["state"], (await shown(http))["findings"]) == ("waiting", None)


async def test_each_change_is_checked_anew(http: httpx.AsyncClient, db: Database) -> None:
    await upload(http)
    claim(db)
    assert (await http.delete("/datasets/pets/images/1")).status_code == 200
    assert ((await shown(http))["version"], (await shown(http))["state"]) == (2, "waiting")
    assert (await http.delete("/datasets/pets/2")).status_code == 204
    assert (await http.get(CHECKUP)).status_code == 404
    asked = await http.post(CHECKUP)
    assert (asked.status_code, asked.json()["version"], asked.json()["state"]) == (202, 1, "waiting")
    assert (await http.delete("/datasets/pets")).status_code == 204
    with db.read() as session:
        assert queue.find(session, "pets") is None


async def test_why_a_check_up_failed_is_shown_and_the_data_set_can_be_used(
    http: httpx.AsyncClient, db: Database
) -> None:
    await upload(http)
    claimed = claim(db)
    with db.write() as session:
        queue.fail(session, claimed, "no memory", NOW)
    assert ((await shown(http))["state"], (await shown(http))["error"]) == ("failed", "no memory")
    assert (await http.post("/jobs", json={"dataset": "pets"})).status_code == 202


@pytest.mark.parametrize(("allowed", "reason"), [(0, "switched off"), (5, "has 6 images")])
async def test_none_is_made_where_the_settings_forbid_it(http: httpx.AsyncClient, db: Database, reason: str) -> None:
    await upload(http)
    for answer, status in ((await http.get(CHECKUP), 404), (await http.post(CHECKUP), 409)):
        assert (answer.status_code, reason in answer.json()["detail"]) == (status, True)
        assert "TUNESERVE_MAX_CHECKUP_IMAGES" in answer.json()["detail"]
    with db.write() as session:
        assert queue.claim(session, "worker_a", NOW) is None


async def test_only_uploaded_data_sets_have_one(http: httpx.AsyncClient) -> None:
    for method in ("GET", "POST"):
        for name in ("mnist", "nothing"):
            assert (await http.request(method, f"/datasets/{name}/checkup")).status_code == 404
