"""Before training: the recipe resolved, the data on the device, the network built and filled."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from core import checkpoints, jobs
from core.cpus import cpus
from core.db import Database
from core.images import Preparation
from core.network import Prepare, build
from core.recipe import Recipe, ResolvedRecipe
from core.settings import Settings
from core.store import ArtifactStore
from core.tables import Phase
from worker import batch_size, data, devices, weights
from worker.datasets import load
from worker.datasets.dataset import Dataset
from worker.freeze import freeze
from worker.optimization import Arrays
from worker.photos import Photos
from worker.report import Reporter
from worker.resolve import resolve


@dataclass
class Training:
    """What one attempt works with. ``history`` and ``state`` are replaced when it goes on from a checkpoint."""

    settings: Settings
    db: Database
    store: ArtifactStore
    report: Reporter
    recipe: ResolvedRecipe
    device: torch.device
    dataset: Dataset
    splits: data.Splits
    preparation: Preparation
    prepare: Prepare
    network: nn.Module
    frozen: tuple[str, ...]  # modules of the network
    queued_s: float
    history: list[dict[str, Any]] = field(default_factory=list)  # the metrics of each epoch done
    features_s: float = 0.0  # spent on the activations of a frozen part, in the attempts that led to the history
    state: Arrays | None = None  # of optimizer and running mean, from a checkpoint
    since_attempt: int = 0  # of this job, whose checkpoint it goes on from
    told_percent: float = 0.0  # of the last event within an epoch


def set_up(settings: Settings, db: Database, store: ArtifactStore, report: Reporter) -> Training:
    """Everything that can fail before the first step, the cheapest first."""
    torch.set_num_threads(settings.train_threads or cpus())
    with db.read() as session:
        job = jobs.get(session, report.claim.job_id)
    asked = Recipe.model_validate(job.recipe)
    device = devices.choose(asked.device)
    report.record(device=devices.describe(device))
    report.phase(Phase.PREPARING_DATA, f"data set {asked.dataset}")
    state = weights.find_state(asked.network, asked.weights, settings, db, store)
    dataset = load(asked.dataset, settings)
    if isinstance(dataset.train_images, Photos):
        report.log("the images do not fit into TUNESERVE_DATASET_BYTES: they are decoded anew for every epoch")
    splits = data.split(dataset, asked.train_samples, asked.validation_fraction, asked.seed)
    knows_classes = weights.classes(asked.weights, db) == dataset.classes
    about = (asked, device, len(splits.train), dataset.detail, dataset.style)
    recipe = resolve(*about, knows_classes=knows_classes)
    network, frozen = first_network(recipe, len(dataset.classes), state, device)
    expected = weights.statistics(recipe.network, recipe.weights, db)
    preparation = _preparation(dataset, recipe, expected or data.statistics(splits.train.images))
    training = Training(
        settings=settings,
        db=db,
        store=store,
        report=report,
        recipe=recipe,
        device=device,
        dataset=dataset,
        splits=data.Splits(*(data.to_device(part, device) for part in (splits.train, splits.validation, splits.test))),
        preparation=preparation,
        prepare=Prepare(preparation).to(device),
        network=network,
        frozen=frozen,
        queued_s=(job.started_at or job.created_at) - job.created_at,
    )
    if "auto" in (asked.batch_size, asked.compile) and is_worth_trying(training):
        training.recipe = resolve(*about, _try_batch_sizes(training, asked), knows_classes)
    report.record(resolved_recipe=training.recipe.model_dump(mode="json"))
    return training


def first_network(
    recipe: ResolvedRecipe, classes: int, state: weights.State | None, device: torch.device
) -> tuple[nn.Module, tuple[str, ...]]:
    """The network as it is before its first step, on the device, and the names of its frozen modules."""
    torch.manual_seed(recipe.seed)
    network = build(recipe.network, classes, recipe.image_size)
    if state is not None:
        weights.fill(network, recipe.network, state)
    frozen = freeze(network, recipe.freeze) if recipe.freeze != "none" else []
    return network.to(device, memory_format=torch.channels_last), tuple(frozen)  # type: ignore[call-overload]


def is_worth_trying(training: Training) -> bool:
    """Whether batch sizes are tried: not where that brings little, nor where a checkpoint says what it had come to."""
    if training.device.type == "cpu" or training.frozen:
        return False
    with training.db.read() as session:
        return checkpoints.newest_whole(session, training.store, training.report.claim.job_id) is None


def _try_batch_sizes(training: Training, asked: Recipe) -> batch_size.Tried:
    """Of one size alone, where the recipe names it."""
    train, first = training.splits.train, training.recipe.batch_size
    seconds = batch_size.time_steps(training.network, training.prepare, train, training.recipe, training.device)
    most = batch_size.most_for(len(train)) if asked.batch_size == "auto" else first
    tried = batch_size.largest_that_helps(seconds, first, most)
    training.report.log(f"batch size {tried.batch_size}: a step takes {tried.step_s * 1e3:.1f} ms")
    return tried


def _preparation(
    dataset: Dataset, recipe: ResolvedRecipe, statistics: tuple[weights.Colour, weights.Colour]
) -> Preparation:
    """``statistics``: mean and standard deviation; those that given weights expect, else those of the data at hand."""
    _, height, width, channels = dataset.train_images.shape
    mean, std = statistics
    return Preparation(
        style=dataset.style,
        height=height,
        width=width,
        channels=1 if channels == 1 else 3,
        image_size=recipe.image_size,
        mean=mean,
        std=std,
    )
