"""Set up an attempt: recipe, data and network.

Resolve its recipe, load its data, build its network.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from core.artifacts.store import ArtifactStore
from core.cpus import cpus
from core.dataset_references import parse_dataset
from core.db.database import Database
from core.db.tables import Phase
from core.imaging.preparation import Preparation
from core.inference.network import Prepare, build
from core.networks import lookup
from core.recipes.recipe import Recipe, ResolvedRecipe
from core.repositories import checkpoints, datasets, jobs, models
from core.settings import Settings
from worker.attempt import batch_size_search, photo_form, pretrained_weights
from worker.attempt.auto_config import resolve
from worker.attempt.reporter import Reporter
from worker.data import splits as data
from worker.data.datasets import load, uploaded
from worker.data.datasets.dataset import Dataset
from worker.data.photo_files import Photos
from worker.training import devices
from worker.training.freezing import freeze
from worker.training.head_fit import MIN_JUDGES
from worker.training.optimizer import Arrays


@dataclass(frozen=True)
class TrainingContext:
    """Everything that stays the same throughout one attempt."""

    settings: Settings
    db: Database
    store: ArtifactStore
    report: Reporter
    device: torch.device
    dataset: Dataset
    splits: data.Splits
    preparation: Preparation
    prepare: Prepare
    network: nn.Module  # always this object; training and checkpoints change its weights
    frozen: tuple[str, ...]  # modules of the network that the recipe freezes, for good or until unfreeze_after
    queued_s: float
    weights_license: str | None


@dataclass(frozen=True)
class TrainingInput:
    """A network with the data to train it on.

    It is a whole network with images, or the rest of one with cached activations.
    """

    network: nn.Module
    prepare: nn.Module
    train: data.Split
    validation: data.Split
    frozen: tuple[str, ...]  # modules of the network


@dataclass(frozen=True)
class TrainingState:
    """The progress of one attempt; a change is a new value."""

    recipe: ResolvedRecipe  # its batch size is halved when memory runs out
    history: tuple[dict[str, Any], ...] = ()  # the metrics of each finished epoch
    optimizer_state: Arrays | None = None  # with the EMA, from the checkpoint that is resumed
    features_s: float = 0.0  # spent on caching features, in all attempts that the history comes from
    since_attempt: int = 0  # the attempt of this job that wrote the checkpoint that is resumed
    interrupted: bool = False  # stopped on request before its last epoch
    kept: TrainingInput | None = None  # of a last stage that trained a head alone: it and its features of all images


def set_up(
    settings: Settings, db: Database, store: ArtifactStore, report: Reporter
) -> tuple[TrainingContext, TrainingState]:
    """Do all that can fail before the first step, the cheapest first."""
    torch.set_num_threads(settings.train_threads or cpus())
    with db.read() as session:
        job = jobs.get(session, report.claim.job_id)
    requested = Recipe.model_validate(job.recipe)
    device = devices.choose(requested.device)
    report.record(device=devices.describe(device))
    report.phase(Phase.PREPARING_DATA, f"data set {requested.dataset}")
    weights = pretrained_weights.find_state(requested.network, requested.weights, settings, db, store)
    dataset, splits = _load_data(requested, settings, db, report)
    if dataset.image_fit is not None:
        requested = requested.model_copy(update={"image_fit": dataset.image_fit})
    knows_classes = pretrained_weights.classes(requested.weights, db) == dataset.classes
    about = (requested, device, len(splits.train), dataset.detail, dataset.style)
    recipe = resolve(*about, knows_classes=knows_classes)
    network, frozen = first_network(recipe, len(dataset.classes), weights, device)
    preparation = _preparation(dataset, splits, recipe, db)
    context = TrainingContext(
        settings=settings,
        db=db,
        store=store,
        report=report,
        device=device,
        dataset=dataset,
        splits=splits.to(device),
        preparation=preparation,
        prepare=Prepare(preparation).to(device),
        network=network,
        frozen=frozen,
        queued_s=(job.started_at or job.created_at) - job.created_at,
        weights_license=pretrained_weights.license_of(requested.network, requested.weights, settings, db),
    )
    if "auto" in (requested.batch_size, requested.compile) and should_time_steps(context):
        recipe = resolve(*about, _time_steps(context, recipe, requested), knows_classes)
    report.record(resolved_recipe=recipe.model_dump(mode="json"))
    return context, TrainingState(recipe)


def _load_data(requested: Recipe, settings: Settings, db: Database, report: Reporter) -> tuple[Dataset, data.Splits]:
    dataset = _load(requested, settings, db, report)
    if requested.rerun and not _is_as_before(requested.rerun, dataset, db):
        report.log(f"the images of {requested.dataset} are not those that {requested.rerun} was trained on")
    if isinstance(dataset.train_images, Photos):
        report.log("the images do not fit into TUNESERVE_DATASET_BYTES: they are decoded anew for every epoch")
    share = _validation_share(requested, len(dataset.train_labels))
    if share != requested.validation_fraction:
        report.log("no image is held back: the weight decay is chosen by cross-validation on so few")
    return dataset, data.split(dataset, requested.train_samples, share, requested.seed)


def _validation_share(requested: Recipe, images: int) -> float:
    """Return the share of images to hold back for validation.

    None where L-BFGS would not choose by so few, unless a share was requested.
    """
    is_default = requested.validation_fraction == Recipe.model_fields["validation_fraction"].default
    too_few = requested.validation_fraction * images < MIN_JUDGES
    return 0.0 if requested.optimizer == "lbfgs" and is_default and too_few else requested.validation_fraction


def _load(requested: Recipe, settings: Settings, db: Database, report: Reporter) -> Dataset:
    choose, (name, version) = photo_form.chooser(requested, report.log), parse_dataset(requested.dataset)
    if version is None:
        return load(name, settings, choose)
    with db.read() as session:
        images = datasets.images(session, name, version)
    return uploaded.load(requested.dataset, images, settings, choose)


def _is_as_before(model_id: str, dataset: Dataset, db: Database) -> bool:
    with db.read() as session:
        digest: str = models.find(session, model_id).card["dataset_digest"]
    return digest == dataset.digest


def first_network(
    recipe: ResolvedRecipe, classes: int, weights: pretrained_weights.State | None, device: torch.device
) -> tuple[nn.Module, tuple[str, ...]]:
    """Build the network as it is before its first step.

    Returns it with its frozen modules' names.
    """
    torch.manual_seed(recipe.seed)
    network = build(recipe.network, classes, recipe.image_size)
    if weights is not None:
        pretrained_weights.fill(network, recipe.network, weights)
    frozen = freeze(network, recipe.freeze) if recipe.freeze != "none" else []
    return network.to(device, memory_format=torch.channels_last), tuple(frozen)  # type: ignore[call-overload]


def reset_network(context: TrainingContext, recipe: ResolvedRecipe) -> None:
    """Undo all training of the network.

    Weights and frozen modules become those before its first step.
    """
    weights = pretrained_weights.find_state(recipe.network, recipe.weights, context.settings, context.db, context.store)
    first, _ = first_network(recipe, len(context.dataset.classes), weights, torch.device("cpu"))
    context.network.load_state_dict(first.state_dict())
    for parameter, untrained in zip(context.network.parameters(), first.parameters(), strict=True):
        parameter.requires_grad_(untrained.requires_grad)


def should_time_steps(context: TrainingContext) -> bool:
    """Check whether to search for the batch size.

    Not on a CPU or behind frozen layers, nor to resume.
    """
    if context.device.type == "cpu" or context.frozen:
        return False
    with context.db.read() as session:
        return checkpoints.newest_whole(session, context.store, context.report.claim.job_id) is None


def _time_steps(context: TrainingContext, recipe: ResolvedRecipe, requested: Recipe) -> batch_size_search.Trial:
    """Search for the batch size, or time that of the recipe."""
    train, first = context.splits.train, recipe.batch_size
    step_s = batch_size_search.time_steps(context.network, context.prepare, train, recipe, context.device)
    largest = batch_size_search.max_batch_size(len(train)) if requested.batch_size == "auto" else first
    trial = batch_size_search.find_batch_size(step_s, first, largest)
    context.report.log(f"batch size {trial.batch_size}: a step takes {trial.step_s * 1e3:.1f} ms")
    return trial


def _preparation(dataset: Dataset, splits: data.Splits, recipe: ResolvedRecipe, db: Database) -> Preparation:
    """Describe how images become the network's input.

    They are normalised with the mean and standard deviation that pre-trained weights expect, else with those of the
    training split.
    """
    expected = pretrained_weights.statistics(recipe.network, recipe.weights, db)
    mean, std = expected or data.statistics(splits.train.images)
    _, height, width, channels = dataset.train_images.shape
    return Preparation(
        style=dataset.style,
        image_fit=recipe.image_fit,
        resampling=lookup.get(recipe.network).resampling,
        height=height,
        width=width,
        channels=1 if channels == 1 else 3,
        image_size=recipe.image_size,
        mean=mean,
        std=std,
    )
