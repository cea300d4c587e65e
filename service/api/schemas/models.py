"""Response schemas of models and aliases, and the functions that build them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.artifacts.model_files import REPORT
from core.db.tables import Model
from core.repositories.aliases import Target
from service.api.schemas.times import utc, utc_or_none


class TestResult(BaseModel):
    correct: int = Field(description="Number of test images classified correctly.")
    images: int = Field(description="Number of test images.")
    low: float = Field(description="Lower end of the accuracy's 95 % interval (Wilson), 0 to 1.")
    high: float = Field(description="Upper end of the accuracy's 95 % interval (Wilson), 0 to 1.")


class ModelView(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    id: str = Field(description="`model_`, the digits of the job's id, and the attempt that published it.")
    name: str = Field(description="Name it was published under.")
    version: int = Field(description="Number within the name, in order of publication, from 1.")
    job_id: str = Field(description="Id of the job that published it; the job may be deleted since.")
    aliases: list[str] = Field(description="Aliases that point at it now.")
    created_at: datetime = Field(description="Time of publication, UTC.")
    network: str = Field(description="Name of the network, as in recipes.")
    dataset: str = Field(description="Name of the data set it was trained on.")
    dataset_digest: str = Field(description="SHA-256 of all images and labels; equal digests mean equal data.")
    test_digest: str = Field(
        description="SHA-256 of the test images and labels, in any order; `best` compares models that share it."
    )
    classes: list[str] = Field(description="Class names in the order of the network's outputs.")
    test_accuracy: float = Field(description="Share of the test images classified correctly, 0 to 1.")
    test: TestResult = Field(description="The test accuracy's count and its 95 % interval.")
    metrics: dict[str, Any] = Field(description="Losses and accuracies (0 to 1) of the best epoch and on the test set.")
    timing: dict[str, Any] = Field(
        description="Seconds per phase and per publishing step, and training images per second."
    )
    best_epoch: int = Field(description="Number of the epoch whose weights the model has, from 1.")
    recipe: dict[str, Any] = Field(description='The recipe it was trained with, with every "auto" decided.')
    preparation: dict[str, Any] = Field(description="How an image becomes the network's input; sizes in pixels.")
    per_class: list[dict[str, Any]] = Field(description="Number of test images, precision, recall and F1 per class.")
    confusion_matrix: list[list[int]] = Field(
        description="Numbers of test images. Row: the true class; column: the predicted class."
    )
    calibration: dict[str, Any] | None = Field(
        None,
        description="Temperature of the probabilities, and their calibration error on the test set; null where it has "
        "too few images to tell.",
    )
    serving: dict[str, Any] | None = Field(
        None, description="Which ONNX graph serves on a CPU and why, and the milliseconds each takes per batch size."
    )
    ood: dict[str, Any] | None = Field(
        None, description="How `ood_score` was fitted, and the shares of validation and test images it abstains on."
    )
    device: dict[str, Any] = Field(description="Device it was trained on; memory in bytes.")
    versions: dict[str, str] = Field(description="Versions of the libraries that trained it.")
    files: dict[str, dict[str, Any]] = Field(description="Size in bytes and SHA-256 of each file, by name.")
    files_deleted_at: datetime | None = Field(
        description="Time when its files were deleted, UTC; null while it has them."
    )
    served_at: datetime | None = Field(description="Time when it last started to serve, UTC; null if it never did.")
    publication: dict[str, Any] | None = Field(
        None, description="Whether the alias `serving` moved to it at publication, and why."
    )
    links: dict[str, str] = Field(description="Paths of related resources, by kind.")


class ModelPage(BaseModel):
    data: list[ModelView] = Field(description="The entries of this page, newest first.")
    has_more: bool = Field(description="Whether older entries follow.")
    next: str | None = Field(description="The value of `after` for the next page; null on the last page.")


class DefaultNameView(BaseModel):
    name: str = Field(description="Name that answers requests without a model.")
    pinned: bool = Field(description="Whether it stays the default whatever is published.")


class AliasView(BaseModel):
    model_config = ConfigDict(protected_namespaces=())

    model: str = Field(description="Name of the models it belongs to.")
    name: str = Field(
        description="Name of the alias. `latest` and `best` move automatically, `serving` as recipes say."
    )
    model_id: str = Field(description="Id of the model it points at.")
    version: int = Field(description="Version of that model.")
    updated_at: datetime = Field(description="Time since when it points at that model, UTC.")


def model_view(model: Model, aliases: dict[str, list[str]]) -> ModelView:
    shown = {name: model.card[name] for name in ModelView.model_fields if name in model.card}
    own = {
        "id": model.id,
        "name": model.name,
        "version": model.version,
        "job_id": model.job_id,
        "aliases": aliases.get(model.id, []),
        "created_at": utc(model.created_at),
        "test_accuracy": model.test_accuracy,
        "files_deleted_at": utc_or_none(model.files_deleted_at),
        "served_at": utc_or_none(model.served_at),
        "links": _links_of(model),
    }
    return ModelView.model_validate(shown | own)


def _links_of(model: Model) -> dict[str, str]:
    path = f"/models/{model.id}"
    links = {"self": path, "job": f"/jobs/{model.job_id}"}
    if model.files_deleted_at is None:
        links["content"] = f"{path}/content"
        if REPORT in model.card["files"]:
            links |= {"report": f"{path}/report", "report_page": f"{path}/report.html"}
    return links


def alias_view(name: str, target: Target) -> AliasView:
    model = target.model
    return AliasView(
        model=model.name, name=name, model_id=model.id, version=model.version, updated_at=utc(target.since)
    )
