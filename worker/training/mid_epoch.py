"""A place within an epoch at which training can stop and go on, as if it had not stopped."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from worker.training.optimizer import Arrays

PREFIX = "midway."


@dataclass(frozen=True)
class Midway:
    """Between two steps. With the weights, ``state`` is all that going on from here needs.

    Its arrays may be views of what training changes: to be written before the next step.
    """

    step: int  # steps done in the whole run
    state: Arrays


def to_arrays(step: int, sums: Mapping[str, float], device: torch.device) -> Arrays:
    """Where we are, the epoch's sums so far, and the state of chance."""
    numbers = {"step": step, **sums}
    arrays = {f"{PREFIX}{name}": np.asarray(number, np.float64) for name, number in numbers.items()}
    return arrays | {f"{PREFIX}chance.{name}": state.numpy() for name, state in _chance(device).items()}


def step_of(arrays: Arrays | None) -> int | None:
    """The steps done, where these arrays are of a place within an epoch."""
    return None if arrays is None or f"{PREFIX}step" not in arrays else int(arrays[f"{PREFIX}step"])


def from_arrays(arrays: Arrays, device: torch.device) -> dict[str, float]:
    """Set chance as it was; the sums."""
    own = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    torch.set_rng_state(torch.from_numpy(np.array(own["chance.cpu"])))
    if device.type == "cuda" and "chance.cuda" in own:
        torch.cuda.set_rng_state(torch.from_numpy(np.array(own["chance.cuda"])), device)
    return {name: float(array) for name, array in own.items() if array.ndim == 0 and name != "step"}


def _chance(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})
