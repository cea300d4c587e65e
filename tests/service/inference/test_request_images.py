"""service.inference.request_images: images that the service fetches itself.

The other bodies are tested in tests/service/api/routes/test_predict.py.
"""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from core.db.tables import Model
from core.inference.onnx_predictor import Images, OnnxPredictor, Outputs
from core.settings import Settings
from service.inference.request_images import MAX_URLS
from service.security.outbound_client import OutboundClient
from tests.conftest import DIGIT_FILES, running
from tests.support.fakes import until
from tests.support.receiver import Answer, Receiver, receiving

Published = Callable[..., Model]
SEVEN, THREE = DIGIT_FILES[7].read_bytes(), DIGIT_FILES[3].read_bytes()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"fetch_urls": True})


@pytest.fixture
def pictures() -> Iterator[Receiver]:
    with receiving(Answer(body=SEVEN)) as server:
        yield server


def let_in(http: httpx.AsyncClient) -> None:
    """Allow this service to call the servers of these tests."""
    transport = http._transport
    assert isinstance(transport, httpx.ASGITransport)
    assert isinstance(transport.app, FastAPI)
    state = transport.app.state
    state.service = replace(state.service, outbound=OutboundClient(allow_private=True))


@pytest.fixture
async def http(settings: Settings, published: Published) -> AsyncIterator[httpx.AsyncClient]:
    """The service with a model and access to the tests' servers."""
    published()
    async with running(settings) as client:
        let_in(client)
        yield client


async def ask(http: httpx.AsyncClient, *images: dict[str, Any], **headers: str) -> httpx.Response:
    return await http.post("/predict", json={"images": list(images)}, headers=headers)


async def test_images_by_url_stand_beside_others_in_their_order(http: httpx.AsyncClient, pictures: Receiver) -> None:
    answer = await ask(http, {"b64": base64.b64encode(THREE).decode()}, {"url": pictures.url}, {"array": [[0, 0]]})
    assert [prediction["label"] for prediction in answer.json()["predictions"]] == ["3", "7", "no_digit"]


async def test_a_url_that_cannot_be_fetched_leaves_the_others_their_answers(http: httpx.AsyncClient) -> None:
    with receiving(Answer(404), Answer(302), Answer(body=b"no image")) as bad, receiving(Answer(body=SEVEN)) as good:
        urls = [bad.url, "ftp://a.example/", good.url, bad.url, bad.url]
        predictions = (await ask(http, *({"url": url} for url in urls))).json()["predictions"]
    assert predictions[2]["label"] == "7"
    errors = [prediction.get("error", {}) for prediction in predictions]
    assert sorted(error["code"] for error in errors if error) == ["not_an_image", *["url_not_reachable"] * 3]
    assert "must begin with http" in errors[1]["detail"]


async def test_one_url_that_cannot_be_fetched_is_a_bad_request(http: httpx.AsyncClient) -> None:
    with receiving(Answer(404)) as there:
        answer = await ask(http, {"url": there.url})
    assert (answer.status_code, answer.json()["code"]) == (422, "url_not_reachable")
    assert "404" in answer.json()["detail"]


async def test_our_own_network_is_not_fetched_from(
    settings: Settings, published: Published, pictures: Receiver
) -> None:
    published()
    async with running(settings.model_copy(update={"webhook_allow_private": True})) as http:
        answer = await ask(http, {"url": pictures.url})
    assert (answer.status_code, answer.json()["code"], pictures.asked) == (422, "url_not_reachable", [])


async def test_where_urls_are_switched_off_the_answer_says_how_to_switch_them_on(
    settings: Settings, published: Published, pictures: Receiver
) -> None:
    published()
    async with running(settings.model_copy(update={"fetch_urls": False})) as http:
        answer = await ask(http, {"array": [[0]]}, {"url": pictures.url})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/images/1/url")
    assert "TUNESERVE_FETCH_URLS" in answer.json()["detail"]
    assert pictures.asked == []


async def test_too_many_urls_are_refused_before_the_first_is_fetched(
    http: httpx.AsyncClient, pictures: Receiver
) -> None:
    answer = await ask(http, *[{"url": pictures.url}] * (MAX_URLS + 1))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/images/{MAX_URLS}/url")
    assert pictures.asked == []


async def test_the_urls_of_a_request_are_fetched_at_once(http: httpx.AsyncClient, pictures: Receiver) -> None:
    together = threading.Barrier(MAX_URLS, timeout=10)
    pictures.answers = [Answer(body=SEVEN, before=together.wait)]
    answer = await ask(http, *[{"url": pictures.url}] * MAX_URLS)
    assert [prediction.get("label") for prediction in answer.json()["predictions"]] == ["7"] * MAX_URLS


async def test_what_is_slow_to_fetch_holds_up_no_other_request(http: httpx.AsyncClient, pictures: Receiver) -> None:
    released = threading.Event()
    pictures.answers = [Answer(body=SEVEN, before=partial(released.wait, 20))]
    waiting = asyncio.create_task(ask(http, *[{"url": pictures.url}] * MAX_URLS))
    await until(lambda: len(pictures.asked) == MAX_URLS)
    other = await ask(http, {"b64": base64.b64encode(THREE).decode()})
    assert (other.json()["predictions"][0]["label"], waiting.done()) == ("3", False)
    released.set()
    assert (await waiting).status_code == 200


async def test_fetching_takes_no_longer_than_the_client_waits(http: httpx.AsyncClient, pictures: Receiver) -> None:
    released = threading.Event()
    pictures.answers = [Answer(body=SEVEN, before=partial(released.wait, 20))]
    answer = await ask(http, {"url": pictures.url}, **{"X-Timeout-Ms": "50"})
    released.set()
    assert answer.status_code == 504


async def test_fetching_and_answering_share_the_time_that_the_client_waits(
    http: httpx.AsyncClient, pictures: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    never, run = threading.Event(), OnnxPredictor.run

    def slow(predictor: OnnxPredictor, images: Images, _features: bool = False) -> Outputs:
        never.wait(0.6)
        return run(predictor, images)

    pictures.answers = [Answer(body=SEVEN, before=lambda: never.wait(0.6))]
    monkeypatch.setattr(OnnxPredictor, "run", slow)
    answer = await ask(http, {"url": pictures.url}, **{"X-Timeout-Ms": "1000"})
    assert answer.status_code == 504


async def test_urls_bring_no_more_together_than_a_body_may(
    settings: Settings, published: Published, pictures: Receiver
) -> None:
    fits = len(SEVEN) * 2 - 1  # one of them, and not two
    published()
    async with running(settings.model_copy(update={"max_body_bytes": fits})) as http:
        let_in(http)
        one, two = await ask(http, {"url": pictures.url}), await ask(http, *[{"url": pictures.url}] * 2)
    assert one.json()["predictions"][0]["label"] == "7"
    assert [prediction["error"]["code"] for prediction in two.json()["predictions"]] == ["url_not_reachable"] * 2
