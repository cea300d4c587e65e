"""Networks and data sets that a recipe can name."""

import math
import time
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from core.artifacts import weight_files
from core.errors import NotFound
from core.networks import MAX_RATE_BATCH, NETWORKS, RATE_BATCH, SIDES, WEIGHT_DECAY, Network, lookup
from core.recipes.recipe import Recipe
from core.repositories import jobs
from core.scopes import Scope
from service.api.dependencies import Service, State
from service.api.parameters import TEXT
from service.datasets.catalog import DatasetSummary, summaries
from service.security.api_keys import RequireScope
from service.web.problems import DESCRIBED

router = APIRouter(responses=DESCRIBED, tags=["catalogue"], dependencies=[Depends(RequireScope(Scope.TRAIN))])


class WeightsView(BaseModel):
    status: weight_files.Availability = Field(
        description="available: installed, or in the folder of weights. downloadable: fetched by the first job that "
        "wants them. missing: such a download has just failed, or none is allowed."
    )
    files: list[str] = Field(
        description="Names of files in TUNESERVE_WEIGHTS_DIR that would do; empty if the weights are installed."
    )
    license: str | None = Field(description="Licence that is stated for the published weights; null: none is.")


class NetworkView(BaseModel):
    name: str = Field(description="Name of the network in recipes.")
    family: str = Field(description="Family of networks with the same design, in several sizes.")
    parameters: int = Field(description="Number of weights, with a head for ImageNet's 1,000 classes.")
    smallest_image_size: int = Field(description="Smallest side of an input image, in pixels.")
    optimizer: str = Field(description='Optimizer that "auto" selects for it.')
    weights: WeightsView = Field(description='Weights of "imagenet", as this process finds them.')


class NetworkPage(BaseModel):
    data: list[NetworkView] = Field(description="The networks that match, those of torchvision first.")
    has_more: bool = Field(description="Whether more networks match the search.")


@router.get("/networks", summary="List the networks that can be trained")
def list_networks(
    service: Service,
    search: Annotated[
        str | None,
        Query(
            max_length=100,
            pattern=TEXT,
            description="Only networks whose name contains this, such as `timm/vit_small`; default: all but timm's",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Maximum number of networks that a search returns")] = 20,
) -> NetworkPage:
    """List the catalogue, or search it together with several hundred networks of timm."""
    failed = _failed_downloads(service)
    found = [*NETWORKS.values()] if search is None else [*islice(lookup.search(search), limit + 1)]
    shown = found if search is None else found[:limit]
    views = [_view(network, _weights(network, service, failed)) for network in shown]
    return NetworkPage(data=views, has_more=len(found) > len(shown))


@router.get("/networks/{name:path}", summary="Get the JSON Schema of recipes for one network")
def get_network(
    name: Annotated[str, Path(description="Name of a network, from GET /networks")], service: Service
) -> dict[str, Any]:
    """Return the recipe's JSON Schema with this network's bounds and stages.

    `x-auto` says what "auto" becomes. Its image sizes `enlarged` are for frozen pre-trained layers and, on a GPU, for
    all images but digits. A new head on a frozen backbone has the learning rate of random weights. `x-imagenet` says
    whether the network's pre-trained weights are available, and their licence.
    """
    network = lookup.find(name)
    if network is None:
        raise NotFound(f"There is no network {name[:100]}.")
    schema = Recipe.model_json_schema()
    _adapt(schema["properties"], network)
    imagenet = _weights(network, service, _failed_downloads(service))
    schema["properties"]["weights"]["x-imagenet"] = imagenet.model_dump()
    return schema


@router.get("/datasets", summary="List the data sets that can be trained on")
def list_datasets(service: Service) -> dict[str, list[DatasetSummary]]:
    """List built-in data sets, uploaded ones, and folders of images in the data sets' directory."""
    with service.db.read() as session:
        return {"data": summaries(session, service.settings)}


def _failed_downloads(service: State) -> set[str]:
    """Name the networks whose weights could not be downloaded minutes ago."""
    with service.db.read() as session:
        return jobs.networks_without_weights(session, time.time())


def _weights(network: Network, service: State, failed: set[str]) -> WeightsView:
    status = weight_files.availability(network, service.settings, network.name in failed)
    return WeightsView(status=status, files=list(network.weights_files), license=network.license)


def _view(network: Network, weights: WeightsView) -> NetworkView:
    return NetworkView(
        name=network.name,
        family=network.family,
        parameters=network.parameters,
        smallest_image_size=network.traits.smallest,
        optimizer=network.traits.optimizer,
        weights=weights,
    )


def _adapt(fields: dict[str, dict[str, Any]], network: Network) -> None:
    """Narrow the properties of the recipe's schema to what this network accepts."""
    optimizer = network.traits.optimizer
    fields["network"]["default"] = network.name
    del fields["freeze"]["pattern"]
    fields["freeze"]["enum"] = ["none", "backbone", *(f"until:{stage}" for stage in network.stages)]
    for kind in fields["image_size"]["anyOf"]:
        if kind["type"] == "integer":
            kind |= {"minimum": network.traits.smallest, "maximum": 1024, "multipleOf": network.traits.multiple}
    fields["image_size"]["x-auto"] = [_image_sizes(network, most) for most in (*dict(SIDES), math.inf)]
    fields["optimizer"]["x-auto"] = optimizer
    fields["weight_decay"]["x-auto"] = WEIGHT_DECAY[optimizer]
    fields["learning_rate"]["x-auto"] = {
        "batch_size": RATE_BATCH,
        "random": network.learning_rate(optimizer, pretrained=False, batch_size=RATE_BATCH),
        "pretrained": network.learning_rate(optimizer, pretrained=True, batch_size=RATE_BATCH),
        "proportional_to": f"min(batch_size, {MAX_RATE_BATCH})" if optimizer == "sgd" else "sqrt(batch_size)",
    }


def _image_sizes(network: Network, detail: float) -> dict[str, float | None]:
    """Map a data set's detail (pixels) to the "auto" image size.

    null: more detail than all the others. ``enlarged``: for pre-trained layers that stay frozen and, on a GPU, for all
    images but digits.
    """
    return {
        "detail": detail if math.isfinite(detail) else None,
        "random": network.image_size(detail, pretrained=False),
        "pretrained": network.image_size(detail, pretrained=True),
        "enlarged": network.image_size(detail, pretrained=True, enlarged=True),
    }
