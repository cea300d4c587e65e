"""What a recipe can name."""

from typing import Any

from fastapi import APIRouter

from core.errors import NotFound
from core.recipe import DATASETS, NETWORKS, Recipe

router = APIRouter(tags=["catalogue"])


@router.get("/networks", summary="Networks that can be trained")
def list_networks() -> dict[str, list[str]]:
    return {"data": list(NETWORKS)}


@router.get("/networks/{name}", summary="The recipe's JSON Schema")
def get_network(name: str) -> dict[str, Any]:
    if name not in NETWORKS:
        raise NotFound(f"There is no network {name}.")
    schema = Recipe.model_json_schema()
    schema["properties"]["network"]["default"] = name
    return schema


@router.get("/datasets", summary="Data sets that can be trained on")
def list_datasets() -> dict[str, list[str]]:
    return {"data": list(DATASETS)}
