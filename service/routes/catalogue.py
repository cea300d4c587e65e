"""What a recipe can name."""

from typing import Any

from fastapi import APIRouter

from core.errors import NotFound
from core.recipe import DATASETS, NETWORKS, Recipe
from core.settings import Settings
from service.state import Service

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
def list_datasets(service: Service) -> dict[str, list[str]]:
    """The built-in ones, and the folders of images in the data sets' directory."""
    return {"data": datasets(service.settings)}


def datasets(settings: Settings) -> list[str]:
    root = settings.resolved_datasets_dir
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    return [*DATASETS, *(name for name in folders if name not in DATASETS)]
