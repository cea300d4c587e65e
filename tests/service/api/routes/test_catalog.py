"""The networks and data sets that a recipe can name.

Also the service's description of itself.
"""

import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import torch
from pydantic import ValidationError

from core.dataset_references import DATASETS
from core.db.database import Database
from core.errors import WeightsUnavailable
from core.networks import EFFICIENTNET_LITE0, NETWORKS, TOO_LARGE
from core.recipes.recipe import Recipe
from core.repositories import jobs
from core.repositories.jobs import Claim
from core.settings import Settings
from service.inference.request_images import PredictBody
from worker.attempt.auto_config import resolve


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    return settings.model_copy(update=getattr(request, "param", {}))


async def properties(http: httpx.AsyncClient, network: str) -> dict[str, Any]:
    """The fields of the recipe's schema for that network."""
    found: dict[str, Any] = (await http.get(f"/networks/{network}")).json()["properties"]
    return found


async def names(http: httpx.AsyncClient) -> list[str]:
    """List the names of the listed data sets."""
    return [found["name"] for found in (await http.get("/datasets")).json()["data"]]


async def test_networks_and_datasets_are_those_that_a_recipe_takes(http: httpx.AsyncClient) -> None:
    networks = (await http.get("/networks")).json()["data"]
    assert [network["name"] for network in networks] == list(NETWORKS)
    assert networks[0] == {
        "name": "alexnet",
        "family": "alexnet",
        "parameters": 61_100_840,
        "smallest_image_size": 63,
        "optimizer": "adamw",
        "weights": {
            "status": "downloadable",
            "files": ["alexnet-owt-7be5be79.pth", "alexnet.pth", "alexnet.safetensors"],
            "license": None,
        },
    }
    assert await names(http) == list(DATASETS)


async def test_timms_networks_are_listed_where_they_are_searched_for(http: httpx.AsyncClient) -> None:
    async def found(**query: object) -> tuple[list[str], bool]:
        page = (await http.get("/networks", params={str(key): str(value) for key, value in query.items()})).json()
        return [network["name"] for network in page["data"]], page["has_more"]

    assert await found() == (list(NETWORKS), False)
    both, more = await found(search="resnet18")
    assert {"resnet18", "timm/resnet18.a1_in1k"} <= {*both}
    assert not more
    few, more = await found(search="timm/", limit=3)
    assert (len(few), more) == (3, True)
    assert await found(search="nothing like it") == ([], False)


async def test_a_network_of_timm_shows_its_licence_sizes_stages_and_file(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    name = "timm/vit_small_patch14_dinov2.lvd142m"
    fields = await properties(http, name)
    assert fields["network"]["default"] == name
    assert fields["image_size"]["anyOf"][0]["multipleOf"] == 14
    assert fields["image_size"]["x-auto"][-1]["pretrained"] == 518
    assert "until:blocks.11" in fields["freeze"]["enum"]
    file = "vit_small_patch14_dinov2.lvd142m.safetensors"
    assert fields["weights"]["x-imagenet"] == {"status": "downloadable", "files": [file], "license": "apache-2.0"}
    settings.resolved_weights_dir.mkdir(parents=True)
    (settings.resolved_weights_dir / file).touch()
    assert (await properties(http, name))["weights"]["x-imagenet"]["status"] == "available"
    assert (await http.get("/networks/timm%2Fresnet18.a1_in1k")).status_code == 200


async def test_a_name_of_timm_that_is_nearly_right_is_refused_with_the_right_one(http: httpx.AsyncClient) -> None:
    for name, right in (("timm/resnet18", "timm/resnet18.a1_in1k"), ("timm/resnet18.a1_in", "timm/resnet18.a1_in1k")):
        answer = await http.post("/jobs", json={"network": name})
        assert answer.status_code == 422
        (entry,) = answer.json()["errors"]
        assert entry["pointer"] == "/network"
        assert right in entry["detail"]
    right = "timm/resnet18.a1_in1k"
    answer = await http.post("/jobs", json={"network": right})
    assert (answer.status_code, answer.json()["recipe"]["network"]) == (202, right)


async def test_a_network_shows_the_recipe_with_itself_as_default(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/networks/vgg11")).json()
    assert schema["properties"]["network"]["default"] == "vgg11"
    assert set(schema["properties"]) == set(Recipe.model_fields)


async def test_the_stages_of_a_network_are_those_that_a_recipe_can_freeze(http: httpx.AsyncClient) -> None:
    choices = (await properties(http, "mobilenet_v2"))["freeze"]["enum"]
    assert choices[:3] == ["none", "backbone", "until:features.0"]
    assert [Recipe(network="mobilenet_v2", freeze=choice).freeze for choice in choices] == choices


async def test_the_image_sizes_of_a_network_are_those_that_a_recipe_takes(http: httpx.AsyncClient) -> None:
    number, _auto = (await properties(http, "vit_b_32"))["image_size"]["anyOf"]
    assert (number["minimum"], number["multipleOf"]) == (128, 32)
    assert Recipe(network="vit_b_32", image_size=number["minimum"]).image_size == 128
    with pytest.raises(ValidationError, match="at least 128"):
        Recipe(network="vit_b_32", image_size=number["minimum"] - number["multipleOf"])


@pytest.mark.parametrize("weights", ["random", "imagenet"])
@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b3", "vit_b_16"])
async def test_auto_means_what_the_catalogue_says(http: httpx.AsyncClient, name: str, weights: str) -> None:
    said = {field: schema["x-auto"] for field, schema in (await properties(http, name)).items() if "x-auto" in schema}
    small, _, photo = said["image_size"]
    kind = "random" if weights == "random" else "pretrained"
    recipe = Recipe(network=name, weights=weights, batch_size=said["learning_rate"]["batch_size"])
    for detail, sizes in ((small["detail"], small), (1000, photo)):
        done = resolve(recipe, torch.device("cpu"), 10_000, detail, "plain")
        assert (done.image_size, done.learning_rate) == (sizes[kind], said["learning_rate"][kind])
        assert (done.optimizer, done.weight_decay) == (said["optimizer"], said["weight_decay"])


async def test_the_catalogue_tells_to_what_small_images_are_enlarged(http: httpx.AsyncClient) -> None:
    sizes = (await properties(http, "mobilenet_v2"))["image_size"]["x-auto"]
    frozen = Recipe(network="mobilenet_v2", weights="imagenet", freeze="backbone")
    for entry, detail in zip(sizes, (16, 32, 1000), strict=True):
        assert resolve(frozen, torch.device("cpu"), 10_000, detail, "plain").image_size == entry["enlarged"]
    assert [entry["enlarged"] for entry in sizes] == [96, 96, 224]


async def statuses(http: httpx.AsyncClient) -> dict[str, str]:
    """Map the networks to the status of their pre-trained weights."""
    listed = {each["name"]: each["weights"]["status"] for each in (await http.get("/networks")).json()["data"]}
    for name in ("resnet50", "efficientnet_lite0"):
        assert (await properties(http, name))["weights"]["x-imagenet"]["status"] == listed[name]
    return listed


async def test_weights_are_available_in_any_file_that_would_do_or_with_the_worker(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    settings.resolved_weights_dir.mkdir(parents=True)
    for file in ("resnet18-f37072fd.pth", "resnet34.pth", "resnet50.safetensors", "resnet101.bin"):
        (settings.resolved_weights_dir / file).touch()
    found = await statuses(http)
    assert {found.pop(name) for name in ("efficientnet_lite0", "resnet18", "resnet34", "resnet50")} == {"available"}
    assert {*found.values()} == {"downloadable"}


async def test_weights_that_could_not_be_downloaded_minutes_ago_are_missing_and_a_job_for_them_says_so(
    http: httpx.AsyncClient, db: Database, claimed: Callable[..., Claim]
) -> None:
    answer = await http.post("/jobs", json={})
    assert (answer.status_code, answer.json()["warnings"]) == (202, [])
    now = time.time()
    for network, ended in (("resnet50", now - 60), ("resnet18", now - 3600)):
        claim = claimed(at=ended, network=network, priority=1)
        with db.write() as session:
            jobs.fail(session, claim, jobs.describe(WeightsUnavailable("no way there"), ""), ended)
    found = await statuses(http)
    assert (found["resnet50"], found["resnet18"]) == ("missing", "downloadable")
    (warning,) = (await http.post("/jobs", json={})).json()["warnings"]
    assert warning["pointer"] == "/weights"
    assert all(words in warning["detail"] for words in ("resnet50.pth", EFFICIENTNET_LITE0, "random"))
    for other in ({"network": EFFICIENTNET_LITE0}, {"weights": "random"}, {"network": "resnet18"}):
        assert (await http.post("/jobs", json=other)).json()["warnings"] == []


async def test_the_preset_accurate_takes_the_first_network_whose_weights_are_here(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    async def network(**given: Any) -> str:
        return str((await http.post("/jobs", json={"preset": "accurate", **given})).json()["recipe"]["network"])

    assert await network() == EFFICIENTNET_LITE0
    assert await network(network="vgg11") == "vgg11"
    settings.resolved_weights_dir.mkdir(parents=True)
    for name in ("convnext_tiny", "resnet50"):
        (settings.resolved_weights_dir / f"{name}.pth").touch()
        assert await network() == name
    assert await network(weights="random") == "resnet50"


async def test_a_given_field_counts_more_than_the_preset(http: httpx.AsyncClient) -> None:
    recipe = (await http.post("/jobs", json={"preset": "quick", "epochs": 9})).json()["recipe"]
    assert (recipe["preset"], recipe["optimizer"], recipe["epochs"]) == ("quick", "auto", 9)


@pytest.mark.parametrize("settings", [{"offline": True}], indirect=True)
async def test_offline_all_weights_are_missing_but_those_here(http: httpx.AsyncClient) -> None:
    found = await statuses(http)
    assert found.pop(EFFICIENTNET_LITE0) == "available"
    assert {*found.values()} == {"missing"}
    assert (await http.post("/jobs", json={})).json()["warnings"] != []


async def test_a_network_that_could_not_be_published_is_refused_at_once(http: httpx.AsyncClient) -> None:
    answer = await http.post("/jobs", json={"network": TOO_LARGE[0]})
    assert answer.status_code == 422
    (entry,) = answer.json()["errors"]
    assert entry["pointer"] == "/network"
    assert "2 GiB" in entry["detail"]
    assert (await http.get(f"/networks/{TOO_LARGE[0]}")).status_code == 404


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
    assert set(description["paths"]) >= {"/jobs", "/jobs/{job_id}/events", "/models/{reference}/content", "/predict"}
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
    assert await names(http) == [*DATASETS, "pets"]
    assert (await http.post("/jobs", json={"dataset": "pets"})).status_code == 202


async def test_data_sets_say_whether_their_files_are_at_hand(http: httpx.AsyncClient, settings: Settings) -> None:
    for name in ("pets", "mnist", "svhn"):
        (settings.resolved_datasets_dir / name).mkdir(parents=True)
    (settings.resolved_datasets_dir / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"")
    found = (await http.get("/datasets")).json()["data"]
    assert [one["name"] for one in found if one["available"]] == ["digits", "mnist", "pets"]


async def test_the_documentation_needs_nothing_from_elsewhere(http: httpx.AsyncClient) -> None:
    answer = await http.get("/docs")
    needed = re.findall(r'(?:src|href)="([^"]+\.(?:js|css|svg))"', answer.text)
    assert needed
    for path in needed:
        assert not path.startswith(("/", "http"))
        assert (await http.get(f"/{path}")).status_code == 200
