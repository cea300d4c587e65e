"""A trained network, which publishing takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from core.imaging.preparation import Preparation
from core.recipes.recipe import ResolvedRecipe
from worker.attempt.setup import TrainingInput
from worker.data.splits import Splits
from worker.ood.detector_training import can_train


@dataclass(frozen=True)
class TrainedNetwork:
    """Everything that a model is made of."""

    network: nn.Module  # with the weights of its best epoch
    prepare: nn.Module
    preparation: Preparation
    splits: Splits
    classes: tuple[str, ...]
    detail: int  # side in pixels of the images before they were made canonical
    recipe: ResolvedRecipe
    device: torch.device
    best: Mapping[str, Any]  # metrics of that epoch
    history: Mapping[str, Any]  # what the card says of the training: checkpointing.describe
    timing: Mapping[str, Any]  # of the training
    kept: TrainingInput | None = None  # the head alone, with the features of all images

    @property
    def is_enlarged(self) -> bool:
        return self.detail < self.preparation.height

    @property
    def has_detector(self) -> bool:
        return can_train(self.splits.train, self.preparation.style, self.is_enlarged)
