"""Aliases over HTTP: promotion and rollback are the same call."""

from collections.abc import Callable

import httpx
import pytest

from core.db.tables import Model
from core.settings import Settings
from tests.conftest import DIGIT_FILES, running
from tests.support.fakes import answered

Published = Callable[..., Model]
SEVEN = DIGIT_FILES[7].read_bytes()


async def put(http: httpx.AsyncClient, alias: str, model: str) -> httpx.Response:
    return await http.put(f"/models/aliases/{alias}", json={"model": model})


async def answers_with(http: httpx.AsyncClient, model: Model) -> None:
    """Returns once predictions come from that model."""

    async def does() -> bool:
        body = (await http.post("/predict", files={"file": SEVEN})).json()
        return bool(body.get("model", {}).get("id") == model.id)

    await answered(does)


async def test_every_alias_is_listed_with_its_model(http: httpx.AsyncClient, published: Published) -> None:
    better, worse = published(accuracy=0.9), published(accuracy=0.8)
    listed = (await http.get("/models/aliases")).json()["data"]
    assert [(alias["name"], alias["model_id"], alias["version"]) for alias in listed] == [
        ("best", better.id, 1),
        ("latest", worse.id, 2),
        ("serving", worse.id, 2),
    ]
    assert listed[0]["updated_at"] == "2027-01-15T08:00:00Z"


async def test_rollback_and_promotion_are_one_call_each_and_at_once(settings: Settings, published: Published) -> None:
    old, new = published(), published()
    async with running(settings.model_copy(update={"reload_poll_s": 3600})) as http:
        await answers_with(http, new)
        assert (await put(http, "serving", old.id)).json()["version"] == 1
        await answers_with(http, old)
        assert (await put(http, "serving", "latest")).json()["model_id"] == new.id
        await answers_with(http, new)


async def test_a_manual_model_serves_after_a_person_said_so(settings: Settings, published: Published) -> None:
    model = published(publish="manual")
    async with running(settings) as http:
        answer = await http.post("/predict", files={"file": SEVEN})
        assert answer.status_code == 503
        assert "PUT /models/aliases/serving" in answer.json()["detail"]
        await put(http, "serving", model.id)
        await answers_with(http, model)


async def test_an_alias_of_ones_own_is_made_found_and_forgotten(http: httpx.AsyncClient, published: Published) -> None:
    model = published()
    assert (await put(http, "the-shop_2", model.id)).status_code == 200
    assert (await http.get("/models/the-shop_2")).json()["aliases"] == ["best", "latest", "serving", "the-shop_2"]
    assert (await http.delete("/models/aliases/the-shop_2")).status_code == 204
    assert (await http.get("/models/the-shop_2")).status_code == 404
    assert (await http.delete("/models/aliases/the-shop_2")).status_code == 404


@pytest.mark.parametrize(("method", "alias"), [("PUT", "latest"), ("PUT", "best"), ("DELETE", "best")])
async def test_what_follows_by_itself_is_not_moved(
    http: httpx.AsyncClient, published: Published, method: str, alias: str
) -> None:
    model = published()
    body = {"model": model.id} if method == "PUT" else None
    answer = await http.request(method, f"/models/aliases/{alias}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "by itself" in answer.json()["detail"]


async def test_serving_is_not_forgotten(http: httpx.AsyncClient, published: Published) -> None:
    published()
    answer = await http.delete("/models/aliases/serving")
    assert (answer.status_code, (await http.get("/models/serving")).status_code) == (409, 200)


@pytest.mark.parametrize("alias", ["Shop", "a b", "ä", "x" * 65, "a.b", "aliases", "model_1"])
async def test_a_name_that_cannot_be_one_is_refused(http: httpx.AsyncClient, published: Published, alias: str) -> None:
    answer = await put(http, alias, published().id)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "path/alias")


async def test_an_alias_of_nothing_is_not_made(http: httpx.AsyncClient) -> None:
    answer = await put(http, "shop", "model_none")
    assert (answer.status_code, (await http.get("/models/aliases")).json()) == (404, {"data": []})


@pytest.mark.parametrize(("body", "pointer"), [({}, "/model"), ({"model": 1}, "/model"), ({"modell": "x"}, "/modell")])
async def test_a_body_of_another_shape_is_pointed_at(http: httpx.AsyncClient, body: object, pointer: str) -> None:
    answer = await http.put("/models/aliases/shop", json=body)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


@pytest.mark.parametrize("body", [b'{"model": "a\\u0000"}', b'{"model": "\\ud800"}', b'{"model": "%s"}' % (b"x" * 256)])
async def test_what_is_no_name_at_all_is_refused_by_its_field(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.put("/models/aliases/mine", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/model")
