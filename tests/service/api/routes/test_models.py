"""GET /models and what belongs to it."""

from collections.abc import Callable

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load

from core.artifacts.manifest import to_json
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Model
from core.errors import NotFound
from core.repositories import models
from core.settings import Settings
from tests.conftest import running
from tests.support.fakes import NO_GRAPH, answered

Published = Callable[..., Model]


async def test_without_models_the_list_is_empty(http: httpx.AsyncClient) -> None:
    assert (await http.get("/models")).json() == {"data": [], "has_more": False, "next": None}


async def test_a_model_says_where_it_comes_from_and_how_good_it_is(
    http: httpx.AsyncClient, published: Published
) -> None:
    model = published(accuracy=0.75)
    body = (await http.get(f"/models/{model.id}")).json()
    assert (body["id"], body["version"], body["job_id"]) == (model.id, 1, model.job_id)
    assert (body["dataset"], body["network"], body["test_accuracy"]) == ("digits", "resnet18", 0.75)
    assert body["test"] == {"correct": 7500, "images": 10_000, "low": 0.74, "high": 0.76}
    assert body["classes"] == list("0123456789")
    assert body["created_at"] == "2027-01-15T08:00:00Z"
    assert len(body["files"]["model.onnx"]["sha256"]) == 64


async def test_models_are_found_by_their_names(http: httpx.AsyncClient, published: Published) -> None:
    better, worse = published(accuracy=0.9), published(accuracy=0.8)
    found = {
        name: (await http.get(f"/models/{name}")).json()["id"]
        for name in ("digits@best", "digits@latest", "digits", "digits/1")
    }
    assert found == {"digits@best": better.id, "digits@latest": worse.id, "digits": worse.id, "digits/1": better.id}
    assert (await http.get(f"/models/{worse.id}")).json()["aliases"] == ["latest", "serving"]


async def test_the_list_is_newest_first_and_its_pages_meet(http: httpx.AsyncClient, published: Published) -> None:
    made = [published().id for _ in range(5)]
    seen: list[str] = []
    page = {"next": None, "has_more": True}
    while page["has_more"]:
        after = {} if page["next"] is None else {"after": page["next"]}
        page = (await http.get("/models", params={"limit": 2, **after})).json()
        assert len(page["data"]) <= 2
        seen += [model["id"] for model in page["data"]]
    assert seen == made[::-1]


@pytest.mark.parametrize("name", ["digits@latest", "digits", "digits/1", "model_none"])
@pytest.mark.parametrize("rest", ["", "/content", "/report", "/report.json"])
async def test_what_is_not_there_is_not_found(http: httpx.AsyncClient, name: str, rest: str) -> None:
    answer = await http.get(f"/models/{name}{rest}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert name in answer.json()["detail"]


async def test_the_weights_can_be_downloaded(
    http: httpx.AsyncClient, published: Published, digit_weights: npt.NDArray[np.float32]
) -> None:
    model = published()
    answer = await http.get("/models/digits@latest/content")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert f'filename="{model.id}.safetensors"' in answer.headers["content-disposition"]
    np.testing.assert_array_equal(load(answer.content)["weights"], digit_weights)


async def test_the_graph_can_be_downloaded(http: httpx.AsyncClient, published: Published, store: LocalStore) -> None:
    model = published()
    answer = await http.get(f"/models/{model.id}/content", params={"format": "onnx"})
    assert answer.content == store.fetch(f"{model.key}/model.onnx").read_bytes()
    assert f'filename="{model.id}.onnx"' in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    "query",
    ["/models?limit=0", "/models?limit=101", "/models?after=x", "/models?after=0", f"/models?after={10**30}"],
)
async def test_a_parameter_that_means_nothing_is_refused(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith("query/")


async def test_a_format_that_does_not_exist_is_refused(http: httpx.AsyncClient, published: Published) -> None:
    published()
    answer = await http.get("/models/digits@latest/content", params={"format": "pickle"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "query/format")


CALIBRATION = {"temperature": 1.5, "ece_before": 0.04, "ece_after": 0.01}
REPORT = {"id": "model_1", "mistakes": [{"index": 7, "loss": 2.5}]}


@pytest.fixture
def reported(published: Published, db: Database, store: LocalStore) -> Model:
    """A model whose training wrote a report and a temperature too."""
    made = published()
    store.put(f"{made.key}/report.json", to_json(REPORT))
    with db.write() as session:
        model = models.find(session, made.id)
        files = model.card["files"] | {"report.json": {"size_bytes": 1, "sha256": "0"}}
        model.card = model.card | {"files": files, "calibration": CALIBRATION}
    return made


@pytest.mark.parametrize("path", ["report", "report.json"])
@pytest.mark.parametrize("name", ["digits@latest", "model_1"])
async def test_the_report_is_json(http: httpx.AsyncClient, reported: Model, name: str, path: str) -> None:
    answer = await http.get(f"/models/{name}/{path}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == REPORT


async def test_a_model_from_before_there_were_reports_has_none(http: httpx.AsyncClient, published: Published) -> None:
    model = published()
    answer = await http.get(f"/models/{model.id}/report")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.json()["detail"] == f"{model.id} has no report."


async def test_a_model_shows_its_calibration(http: httpx.AsyncClient, reported: Model) -> None:
    assert (await http.get("/models/digits@latest")).json()["calibration"] == CALIBRATION


async def test_a_model_shows_on_what_it_abstains(http: httpx.AsyncClient, published: Published, db: Database) -> None:
    told = {"threshold": 1.0, "validation_abstained": 0.0075, "test_abstained": 0.009, "test_images": 10_000}
    made = published()
    assert (await http.get("/models/digits@latest")).json()["ood"] is None
    with db.write() as session:
        model = models.find(session, made.id)
        model.card = model.card | {"ood": told}
    assert (await http.get("/models/digits@latest")).json()["ood"] == told


# -- deletion


async def test_a_model_that_an_alias_names_is_not_deleted(
    http: httpx.AsyncClient, published: Published, store: LocalStore
) -> None:
    model = published()
    for path in (f"/models/{model.id}", "/models/digits@latest", f"/models/{model.id}?files_only=true"):
        answer = await http.delete(path)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "still serving" in answer.json()["detail"]
    assert store.fetch(f"{model.key}/model.onnx").is_file()


async def test_a_deleted_model_and_its_files_are_gone(
    http: httpx.AsyncClient, published: Published, store: LocalStore
) -> None:
    old, new = published(), published()
    assert (await http.delete(f"/models/{old.id}")).status_code == 204
    assert [model["id"] for model in (await http.get("/models")).json()["data"]] == [new.id]
    for answer in (await http.get(f"/models/{old.id}"), await http.delete(f"/models/{old.id}")):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    with pytest.raises(NotFound):
        store.fetch(f"{old.key}/model.onnx")


async def test_without_its_files_a_models_record_stays(
    http: httpx.AsyncClient, published: Published, store: LocalStore
) -> None:
    old, _ = published(), published()
    assert (await http.get(f"/models/{old.id}")).json()["files_deleted_at"] is None
    for _ in range(2):  # the second time there is nothing left to do
        assert (await http.delete(f"/models/{old.id}", params={"files_only": True})).status_code == 204
    body = (await http.get(f"/models/{old.id}")).json()
    assert (body["test_accuracy"], len(body["files"]["model.onnx"]["sha256"])) == (0.9, 64)
    assert body["files_deleted_at"] is not None
    with pytest.raises(NotFound):
        store.fetch(f"{old.key}/model.onnx")


@pytest.mark.parametrize("rest", ["content", "content?format=onnx", "report"])
async def test_deleted_files_cannot_be_fetched(http: httpx.AsyncClient, published: Published, rest: str) -> None:
    old, _ = published(), published()
    await http.delete(f"/models/{old.id}", params={"files_only": True})
    answer = await http.get(f"/models/{old.id}/{rest}")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "were deleted" in answer.json()["detail"]


async def test_a_record_without_files_can_be_deleted_too(http: httpx.AsyncClient, published: Published) -> None:
    old, _ = published(), published()
    await http.delete(f"/models/{old.id}", params={"files_only": True})
    assert (await http.delete(f"/models/{old.id}")).status_code == 204
    assert (await http.get(f"/models/{old.id}")).status_code == 404


async def test_the_model_that_answers_in_the_place_of_a_refused_one_is_not_deleted(
    settings: Settings, published: Published, store: LocalStore
) -> None:
    old = published(accuracy=0.5)
    async with running(settings) as http:
        broken = published(onnx=NO_GRAPH)

        async def refused() -> bool:
            return broken.id in (await http.get("/readyz")).text

        await answered(refused)
        answer = await http.delete(f"/models/{old.id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "in the place of another version" in answer.json()["detail"]
    assert store.fetch(f"{old.key}/model.onnx").is_file()


async def test_a_model_tells_why_it_serves_or_not(http: httpx.AsyncClient, published: Published) -> None:
    first, second = published(), published(publish="if_better")
    told = [(await http.get(f"/models/{model.id}")).json()["publication"] for model in (first, second)]
    assert [publication["serving"] for publication in told] == [True, False]
    assert "0.9000 of digits/1" in told[1]["reason"]


async def test_a_model_tells_when_it_began_to_serve(http: httpx.AsyncClient, published: Published) -> None:
    model = published(publish="manual")
    assert (await http.get(f"/models/{model.id}")).json()["served_at"] is None
    await http.put("/models/digits/aliases/serving", json={"version": model.version})

    async def serves() -> bool:
        return (await http.get(f"/models/{model.id}")).json()["served_at"] is not None

    await answered(serves)
