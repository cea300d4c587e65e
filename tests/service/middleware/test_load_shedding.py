"""service.middleware.load_shedding: a full queue refuses predictions first of all.

Nothing is done for them before.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from core.db.tables import Model
from core.inference.onnx_predictor import OnnxPredictor, Outputs
from core.settings import Settings
from service.inference.batcher import Batcher
from service.web.problems import ProblemDetails
from tests.conftest import DIGIT_FILES, running
from tests.support.fakes import until

SEVEN = DIGIT_FILES[7].read_bytes()


@pytest.fixture
def tight(settings: Settings) -> Settings:
    return settings.model_copy(update={"predict_queue": 2, "max_images_per_request": 2})


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The network answers nobody until this is set."""
    let_go, real = threading.Event(), OnnxPredictor.run

    def run(self: OnnxPredictor, images: Any, with_features: bool = False) -> Outputs:
        assert let_go.wait(30)
        return real(self, images)

    let_go.set()
    monkeypatch.setattr(OnnxPredictor, "run", run)
    return let_go


def batcher_of(http: httpx.AsyncClient) -> Batcher:
    assert isinstance(http._transport, httpx.ASGITransport)
    found: Batcher = http._transport.app.state.service.pipeline.batcher  # type: ignore[attr-defined]
    return found


async def test_a_full_queue_refuses_at_once_and_answers_those_that_wait(
    published: Callable[..., Model], tight: Settings, blocked: threading.Event
) -> None:
    published()
    async with running(tight) as http:
        await http.post("/predict", files={"file": SEVEN})  # FastAPI builds what it needs for a route at its first use
        blocked.clear()
        waiting = [asyncio.create_task(http.post("/predict", files={"file": SEVEN})) for _ in range(2)]
        await until(lambda: batcher_of(http).is_full)
        refused = await http.post("/predict", content=b"not even read", headers={"X-Request-Id": "mine"})
        nameless = [await http.post("/predict", content=b"x") for _ in range(2)]
        elsewhere = await http.get("/livez")
        blocked.set()
        answers = await asyncio.gather(*waiting)
        counted = (await http.get("/metrics")).text
        again = await http.post("/predict", files={"file": SEVEN})
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (429, "overloaded", "1")
    assert ProblemDetails.model_validate(refused.json()).request_id == refused.headers["x-request-id"] == "mine"
    given = {answer.json()["request_id"] for answer in nameless}
    assert given == {answer.headers["x-request-id"] for answer in nameless}
    assert len(given) == 2
    assert [answer.status_code for answer in (*answers, elsewhere, again)] == [200] * 4
    assert 'tuneserve_requests_total{method="POST",route="/predict",status="429"} 3.0' in counted


async def test_a_request_for_which_there_is_not_enough_room_is_refused_whole(
    published: Callable[..., Model], tight: Settings, blocked: threading.Event
) -> None:
    published()
    async with running(tight) as http:
        blocked.clear()
        waiting = asyncio.create_task(http.post("/predict", files={"file": SEVEN}))
        await until(lambda: batcher_of(http)._admitted == 1)
        refused = await http.post("/predict", files=[("file", SEVEN)] * 2)
        blocked.set()
        answer = await waiting
    assert (refused.status_code, answer.status_code) == (429, 200)


async def test_places_are_given_back_when_images_cannot_be_read(
    published: Callable[..., Model], tight: Settings
) -> None:
    published()
    async with running(tight) as http:
        for _ in range(5):
            assert (await http.post("/predict", files={"file": b"no image"})).status_code == 422
        assert (await http.post("/predict", files={"file": SEVEN})).status_code == 200
