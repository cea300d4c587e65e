"""One training step, as fast as the device allows.

It is forward pass, loss, backward pass, optimizer and EMA.
"""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from core.recipes.recipe import ResolvedRecipe
from worker.data.augmentation import Augment
from worker.data.splits import channels_last
from worker.training.conv_matmul import conv_as_matmul
from worker.training.cuda_graph import CudaGraphStep
from worker.training.ema import WeightEma
from worker.training.loss import cross_entropy
from worker.training.optimizer import Arrays, ScaledOptimizer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Learner:
    """A network with its loss, optimizer and EMA.

    All that a training step reads and changes.
    """

    def __init__(
        self,
        network: nn.Module,
        prepare: nn.Module,
        recipe: ResolvedRecipe,
        device: torch.device,
        augment: Augment,
        class_weights: Tensor | None,
    ) -> None:
        self.device = device
        self.ema = WeightEma(network, recipe.ema)
        self._optimizer = ScaledOptimizer(network, recipe, device)
        self._forward = torch.compile(network) if recipe.compile else network
        self._class_weights, self._smoothing = class_weights, recipe.label_smoothing
        self._prepare, self._augment = prepare, augment
        self._precision = recipe.precision
        # a compiled network chooses its own kernels
        self._convolutions = nullcontext() if recipe.compile else conv_as_matmul(device)
        # fp16's loss scaling waits for the device after each step, which a graph must not
        records = device.type == "cuda" and recipe.precision != "fp16"
        self._train = CudaGraphStep(self._train_on) if records else self._train_on

    def step(self, step: int, images: Tensor, labels: Tensor, rate: float) -> tuple[Tensor, Tensor]:
        """Train on one batch; returns its loss and logits.

        They are from before the update, and valid until the next step.
        """
        self._optimizer.set_rate(rate)
        loss, logits = self._train(images, labels)
        self.ema.update(step + 1)
        return loss, logits

    def to_arrays(self) -> Arrays:
        """Return all that resuming needs besides the network's weights."""
        return {**self._optimizer.to_arrays(), **self.ema.to_arrays()}

    def resume(self, state: Arrays) -> None:
        """Load the state that ``to_arrays`` returned.

        The network must have the weights that it had then.
        """
        self._optimizer.from_arrays(state)
        self.ema.from_arrays(state)
        self.ema.swap()

    def _train_on(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        dtype, mixed = DTYPES[self._precision], self._precision != "fp32"
        with self._convolutions, torch.autocast(self.device.type, dtype, enabled=mixed):
            logits = self._forward(channels_last(self._augment(self._prepare(images))))
        loss = cross_entropy(logits.float(), labels, self._class_weights, self._smoothing)
        self._optimizer.step(loss)
        return loss.detach(), logits.detach()
