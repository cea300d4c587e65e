"""docs/grafana.json shows what /metrics tells, under conventional names.

The conventions: https://prometheus.io/docs/practices/naming/
"""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from core.db.database import Database
from core.db.tables import Checkpoint, Phase
from core.repositories import jobs
from core.repositories.jobs import Claim
from core.settings import Settings
from tests import ROOT
from tests.conftest import DIGIT_FILES, NOW, running
from tests.service.api.routes.test_predict import parts

BOARD = ROOT / "docs" / "grafana.json"
UNITS = ("_seconds", "_images", "_per_second")  # base units, and what is counted
ABBREVIATED = re.compile(r"_(ms|s|sec|bytes?_per_s|percent|kb|mb|img|avg|num)(_|$)")


@pytest.fixture
async def families(
    settings: Settings, db: Database, published: Callable[..., Any], claimed: Callable[..., Claim]
) -> list[Metric]:
    """Scrape everything that the service can tell.

    It has answered, and a job is in training.
    """
    published()
    claim = claimed()
    with db.write() as session:
        jobs.record(session, claim, phase=Phase.TRAINING, timing={"images_per_s": 12.5})
        row = Checkpoint(id="c", job_id=claim.job_id, attempt=1, epoch=1, step=1, key="k", metrics={}, size_bytes=1)
        row.created_at = NOW
        session.add(row)
    async with running(settings) as http:
        await http.post("/predict", files=parts(DIGIT_FILES[3].read_bytes()))
        return list(text_string_to_metric_families((await http.get("/metrics")).text))


def told(families: list[Metric]) -> set[str]:
    names = {sample.name for family in families for sample in family.samples}
    return {name for name in names if not name.endswith("_created")}  # the library's own


def shown() -> set[str]:
    expressions = [
        target["expr"] for panel in json.loads(BOARD.read_text())["panels"] for target in panel.get("targets", [])
    ]
    return {name for expression in expressions for name in re.findall(r"tuneserve_\w+", expression)}


def test_the_dashboard_shows_what_is_told_and_asks_for_nothing_else(families: list[Metric]) -> None:
    assert shown() - told(families) == set()
    assert told(families) - shown() == {"tuneserve_request_seconds_count", "tuneserve_request_seconds_sum"}


def test_names_follow_the_conventions_and_no_series_is_told_twice(families: list[Metric]) -> None:
    for family in families:
        assert re.fullmatch(r"tuneserve_[a-z_]+", family.name)
        assert not ABBREVIATED.search(family.name)
        assert family.documentation.endswith(".")
        kind = family.type
        assert all(sample.name.endswith("_total") for sample in family.samples) == (kind == "counter")
        assert kind != "histogram" or family.name.endswith(UNITS)
        assert all(re.fullmatch(r"[a-z_]+", label) for sample in family.samples for label in sample.labels)
    series = [(sample.name, tuple(sorted(sample.labels.items()))) for family in families for sample in family.samples]
    assert len(series) == len(set(series))


async def test_the_speed_of_a_job_counts_while_it_trains(
    http: httpx.AsyncClient, db: Database, claimed: Callable[..., Claim]
) -> None:
    claim = claimed()
    for phase, speed in ((Phase.TRAINING, 12.5), (Phase.EVALUATING, 0.0)):
        with db.write() as session:
            jobs.record(session, claim, phase=phase, timing={"images_per_s": 12.5})
        assert f"tuneserve_training_images_per_second {speed}\n" in (await http.get("/metrics")).text


def test_panels_lie_beside_each_other() -> None:
    board = json.loads(BOARD.read_text())
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in board["panels"]):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
