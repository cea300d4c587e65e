"""What a recipe can name."""

import math
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field

from core.errors import NotFound
from core.networks import MAX_RATE_BATCH, NETWORKS, RATE_BATCH, SIDES, WEIGHT_DECAY, Network
from core.recipe import Recipe
from core.scopes import Scope
from service.api.dependencies import Service
from service.datasets.catalog import DatasetSummary, names, summary
from service.datasets.registry import Registry
from service.security.api_keys import RequireScope
from service.web.problems import DESCRIBED

router = APIRouter(responses=DESCRIBED, tags=["catalogue"], dependencies=[Depends(RequireScope(Scope.TRAIN))])


class NetworkView(BaseModel):
    name: str = Field(description="What a recipe calls it")
    family: str = Field(description="Of networks that are built alike, and differ in size")
    parameters: int = Field(description="Of all weights, with a head for ImageNet's 1,000 classes")
    smallest_image_size: int = Field(description="Side in pixels")
    optimizer: str = Field(description='What "auto" means for it')


@router.get("/networks", summary="Networks that can be trained")
def list_networks() -> dict[str, list[NetworkView]]:
    return {"data": [_view(network) for network in NETWORKS.values()]}


@router.get("/networks/{name}", summary="The recipe's JSON Schema, as it is for one network")
def get_network(name: Annotated[str, Path(description="As GET /networks lists it")]) -> dict[str, Any]:
    """Describe a network's recipe: its own bounds and stages; `x-auto` resolves "auto".

    `enlarged` images are those behind layers that stay as ImageNet made them, and on a GPU all that are no digits. A
    new head behind a frozen backbone learns at the rate of random weights.
    """
    if name not in NETWORKS:
        raise NotFound(f"There is no network {name}.")
    schema = Recipe.model_json_schema()
    _adapt(schema["properties"], NETWORKS[name])
    return schema


@router.get("/datasets", summary="Data sets that can be trained on")
def list_datasets(service: Service) -> dict[str, list[DatasetSummary]]:
    """The built-in ones, those that were uploaded, and the folders of images in the data sets' directory."""
    registry = Registry(service.settings.resolved_datasets_dir)
    return {"data": [summary(name, registry) for name in names(registry)]}


def _view(network: Network) -> NetworkView:
    return NetworkView(
        name=network.name,
        family=network.family,
        parameters=network.parameters,
        smallest_image_size=network.traits.smallest,
        optimizer=network.traits.optimizer,
    )


def _adapt(fields: dict[str, dict[str, Any]], network: Network) -> None:
    """The properties of the recipe's schema, narrowed to what this network takes."""
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
    """Map a data set's detail in pixels to the image size of "auto".

    null: more detail than all the others. ``enlarged``: behind layers that stay as ImageNet made them, and on a GPU for
    images that are no digits.
    """
    return {
        "detail": detail if math.isfinite(detail) else None,
        "random": network.image_size(detail, pretrained=False),
        "pretrained": network.image_size(detail, pretrained=True),
        "enlarged": network.image_size(detail, pretrained=True, enlarged=True),
    }
