"""The optimizer with its loss scaling."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from core.recipes.recipe import ResolvedRecipe
from worker.training.lr_schedule import parameter_groups

Arrays = Mapping[str, npt.NDArray[Any]]


class ScaledOptimizer:
    """The recipe's optimizer with gradient clipping and, for fp16, loss scaling."""

    def __init__(self, network: nn.Module, recipe: ResolvedRecipe, device: torch.device) -> None:
        self.optimizer = _optimizer(network, recipe, device)
        self.scaler = GradScaler(device.type, enabled=recipe.precision == "fp16")
        self._trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self._clipping = recipe.gradient_clipping

    def set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self._clipping is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._trained, self._clipping)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def to_arrays(self) -> Arrays:
        """Return the state, each tensor named ``<parameter's index>.<name>``."""
        state = self.optimizer.state_dict()["state"]
        arrays = {
            f"{index}.{name}": np.asarray(tensor.detach().cpu() if isinstance(tensor, Tensor) else tensor)
            for index, tensors in state.items()
            for name, tensor in tensors.items()
            if tensor is not None
        }
        return arrays | {f"scaler.{name}": np.asarray(value) for name, value in self.scaler.state_dict().items()}

    def from_arrays(self, arrays: Arrays) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        scaling: dict[str, Any] = {}
        for key, array in arrays.items():
            owner, name = key.split(".", 1)
            if owner == "scaler":
                scaling[name] = array.item()
            elif owner.isdecimal():
                state.setdefault(int(owner), {})[name] = torch.from_numpy(np.array(array))
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        for parameter, tensors in self.optimizer.state.items():
            for name, tensor in tensors.items():
                if isinstance(tensor, Tensor) and tensor.shape == parameter.shape:
                    # the fused kernels walk memory: in another layout they would pair the wrong elements
                    tensors[name] = torch.empty_like(parameter).copy_(tensor)
        if scaling:
            self.scaler.load_state_dict(scaling)


def _optimizer(network: nn.Module, recipe: ResolvedRecipe, device: torch.device) -> torch.optim.Optimizer:
    """Build the recipe's optimizer.

    A CUDA graph fixes every Python number for good, so that on a GPU the learning rate is a tensor on the device.
    """
    groups, on_gpu = parameter_groups(network, recipe.weight_decay), device.type == "cuda"
    for group in groups if on_gpu else ():
        group["lr"] = torch.tensor(recipe.learning_rate, device=device)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True
        )
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=recipe.learning_rate, fused=True, capturable=on_gpu)
