"""What a recipe can name, and the service's description of itself."""

import re
from typing import Any

import httpx
import pytest

from core.recipe import DATASETS, NETWORKS, Recipe
from core.settings import Settings
from service.inputs import PredictBody


async def test_networks_and_datasets_are_those_that_a_recipe_takes(http: httpx.AsyncClient) -> None:
    assert (await http.get("/networks")).json() == {"data": list(NETWORKS)}
    assert (await http.get("/datasets")).json() == {"data": list(DATASETS)}


async def test_a_network_shows_the_recipe_with_itself_as_default(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/networks/vgg11")).json()
    assert schema["properties"]["network"]["default"] == "vgg11"
    assert set(schema["properties"]) == set(Recipe.model_fields)


async def test_one_network_does_not_change_the_next(http: httpx.AsyncClient) -> None:
    await http.get("/networks/vgg11")
    described = (await http.get("/openapi.json")).json()["components"]["schemas"]["Recipe"]
    assert described["properties"]["network"]["default"] == "resnet50"


async def test_a_network_that_does_not_exist_is_not_found(http: httpx.AsyncClient) -> None:
    answer = await http.get("/networks/resnet51")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/networks", 405)])
async def test_the_frameworks_own_refusals_are_problems_too(
    http: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await http.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == path


async def test_the_front_page_leads_to_the_documentation(http: httpx.AsyncClient) -> None:
    answer = await http.get("/", follow_redirects=True)
    assert (answer.status_code, answer.url.path) == (200, "/docs")


def bodies(description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    operations = [(path, operation) for path, entry in description["paths"].items() for operation in entry.values()]
    return {path: operation["requestBody"]["content"] for path, operation in operations if "requestBody" in operation}


async def test_the_examples_of_the_description_are_valid_requests(http: httpx.AsyncClient) -> None:
    description = (await http.get("/openapi.json")).json()
    recipes = description["components"]["schemas"]["Recipe"]["examples"]
    assert recipes
    for recipe in recipes:
        assert (await http.post("/jobs", json=recipe)).status_code == 202
    PredictBody.model_validate(bodies(description)["/predict"]["application/json"]["example"])


async def test_every_route_is_described(http: httpx.AsyncClient) -> None:
    description = (await http.get("/openapi.json")).json()
    assert set(description["paths"]) >= {"/jobs", "/jobs/{job_id}/events", "/models/{name}/content", "/predict"}
    for entry in description["paths"].values():
        assert all(operation["summary"] and operation["tags"] for operation in entry.values())
    assert set(bodies(description)["/predict"]) >= {"multipart/form-data", "application/json", "image/png"}


async def test_a_folder_of_images_is_a_data_set_that_a_job_can_name(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    answer = await http.post("/jobs", json={"dataset": "pets"})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"pointer": "/dataset", "detail": answer.json()["detail"]}]
    (settings.resolved_datasets_dir / "pets").mkdir(parents=True)
    assert (await http.get("/datasets")).json()["data"] == [*DATASETS, "pets"]
    assert (await http.post("/jobs", json={"dataset": "pets"})).status_code == 202


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_the_documentation_needs_nothing_from_elsewhere(http: httpx.AsyncClient, page: str) -> None:
    answer = await http.get(page)
    needed = re.findall(r'(?:src|href)="([^"]+\.(?:js|css|png))"', answer.text)
    assert needed
    for path in needed:
        assert path.startswith("/")
        assert (await http.get(path)).status_code == 200
