"""Aliases over HTTP: promotion and rollback are the same call."""

from collections.abc import Callable

import httpx
import pytest

from core.db.tables import Model
from core.settings import Settings
from tests.conftest import DIGIT_FILES, NOW, running
from tests.support.fakes import answered

Published = Callable[..., Model]
SEVEN = DIGIT_FILES[7].read_bytes()


async def put(http: httpx.AsyncClient, alias: str, version: int, name: str = "digits") -> httpx.Response:
    return await http.put(f"/models/{name}/aliases/{alias}", json={"version": version})


async def answers_with(http: httpx.AsyncClient, model: Model) -> None:
    """Returns once predictions come from that model."""

    async def does() -> bool:
        body = (await http.post("/predict", files={"file": SEVEN})).json()
        return bool(body.get("model", {}).get("id") == model.id)

    await answered(does)


async def test_every_alias_is_listed_with_its_model(http: httpx.AsyncClient, published: Published) -> None:
    better, worse = published(accuracy=0.9), published(accuracy=0.8)
    listed = (await http.get("/models/digits/aliases")).json()["data"]
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
        assert (await put(http, "serving", 1)).json()["version"] == 1
        await answers_with(http, old)
        assert (await put(http, "serving", 2)).json()["model_id"] == new.id
        await answers_with(http, new)


async def test_a_manual_model_serves_after_a_person_said_so(settings: Settings, published: Published) -> None:
    model = published(publish="manual")
    async with running(settings) as http:
        answer = await http.post("/predict", files={"file": SEVEN})
        assert answer.status_code == 503
        assert "PUT /models/{name}/aliases/serving" in answer.json()["detail"]
        await put(http, "serving", 1)
        await answers_with(http, model)


async def test_an_alias_of_ones_own_is_made_found_and_forgotten(http: httpx.AsyncClient, published: Published) -> None:
    published()
    assert (await put(http, "the-shop_2", 1)).status_code == 200
    assert (await http.get("/models/digits@the-shop_2")).json()["aliases"] == [
        "best",
        "latest",
        "serving",
        "the-shop_2",
    ]
    assert (await http.delete("/models/digits/aliases/the-shop_2")).status_code == 204
    assert (await http.get("/models/digits@the-shop_2")).status_code == 404
    assert (await http.delete("/models/digits/aliases/the-shop_2")).status_code == 404


@pytest.mark.parametrize(("method", "alias"), [("PUT", "latest"), ("PUT", "best"), ("DELETE", "best")])
async def test_what_follows_by_itself_is_not_moved(
    http: httpx.AsyncClient, published: Published, method: str, alias: str
) -> None:
    model = published()
    body = {"version": model.version} if method == "PUT" else None
    answer = await http.request(method, f"/models/digits/aliases/{alias}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "by itself" in answer.json()["detail"]


async def test_a_name_without_its_alias_serving_answers_no_more(settings: Settings, published: Published) -> None:
    digit, _ = published(), published(name="pets", at=NOW + 1)
    async with running(settings.model_copy(update={"reload_poll_s": 3600})) as http:
        assert (await http.post("/predict", files={"file": SEVEN})).json()["model"]["name"] == "pets"
        assert (await http.delete("/models/pets/aliases/serving")).status_code == 204
        await answers_with(http, digit)
        assert (await http.post("/predict/pets", files={"file": SEVEN})).status_code == 404


async def test_every_name_answers_for_itself_by_path_query_and_protocol(
    http: httpx.AsyncClient, published: Published
) -> None:
    first, second, ant = published(), published(), published(name="pets")
    wanted = {"digits": second, "digits/1": first, "pets": ant, "pets@best": ant, first.id: first}
    for reference, model in wanted.items():
        for path in (f"/predict/{reference}", f"/predict?model={reference}", f"/predict/{reference}?top_k=1"):
            answer = (await http.post(path, files={"file": SEVEN})).json()["model"]
            assert answer == {"name": model.name, "version": model.version, "id": model.id, "job_id": model.job_id}
    metadata = (await http.get("/v2/models/digits/versions/1")).json()
    assert (metadata["name"], metadata["versions"]) == ("digits", ["1", "2"])
    assert (await http.get("/v2/models/digits/versions/3")).status_code == 404
    listed = (await http.get("/models", params={"name": "digits"})).json()["data"]
    assert [model["id"] for model in listed] == [second.id, first.id]


async def test_a_pinned_name_answers_whatever_is_published(settings: Settings, published: Published) -> None:
    digit, ant = published(), published(name="pets", at=NOW + 1)
    async with running(settings.model_copy(update={"reload_poll_s": 3600})) as http:
        assert (await http.get("/models/default")).json() == {"name": "pets", "pinned": False}
        await answers_with(http, ant)
        assert (await http.put("/models/default", json={"name": "digits"})).json() == {"name": "digits", "pinned": True}
        await answers_with(http, digit)
        assert (await http.delete("/models/default")).status_code == 204
        await answers_with(http, ant)
        assert (await http.put("/models/default", json={"name": "cats"})).status_code == 404


@pytest.mark.parametrize("alias", ["Shop", "a b", "ä", "x" * 65, "a.b"])
async def test_a_name_that_cannot_be_one_is_refused(http: httpx.AsyncClient, published: Published, alias: str) -> None:
    answer = await put(http, alias, published().version)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "path/alias")


async def test_an_alias_of_nothing_is_not_made(http: httpx.AsyncClient) -> None:
    answer = await put(http, "shop", 1)
    assert (answer.status_code, (await http.get("/models/digits/aliases")).json()) == (404, {"data": []})


@pytest.mark.parametrize(
    ("body", "pointer"), [({}, "/version"), ({"version": "x"}, "/version"), ({"modell": "x"}, "/modell")]
)
async def test_a_body_of_another_shape_is_pointed_at(http: httpx.AsyncClient, body: object, pointer: str) -> None:
    answer = await http.put("/models/digits/aliases/shop", json=body)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
