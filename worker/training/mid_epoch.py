"""A position within an epoch: training resumes from it to the same bits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from worker.training.optimizer import Arrays

PREFIX = "mid_epoch."


@dataclass(frozen=True)
class MidEpoch:
    """The state between two steps of an epoch; with the weights, all that resuming needs.

    Its arrays may be views of what training changes: write them before the next step.
    """

    step: int  # steps done in the whole run
    state: Arrays


def position_arrays(step: int, sums: Mapping[str, float], device: torch.device) -> Arrays:
    """Return the step, the epoch's sums so far and the random number generators' state."""
    numbers = {"step": step, **sums}
    arrays = {f"{PREFIX}{name}": np.asarray(number, np.float64) for name, number in numbers.items()}
    return arrays | {f"{PREFIX}rng.{name}": state.numpy() for name, state in _rng_states(device).items()}


def step_of(arrays: Arrays | None) -> int | None:
    """Return the number of steps done if these arrays hold a position within an epoch."""
    return None if arrays is None or f"{PREFIX}step" not in arrays else int(arrays[f"{PREFIX}step"])


def restore_position(arrays: Arrays, device: torch.device) -> dict[str, float]:
    """Restore the random number generators; returns the epoch's sums."""
    own = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    torch.set_rng_state(torch.from_numpy(np.array(own["rng.cpu"])))
    if device.type == "cuda" and "rng.cuda" in own:
        torch.cuda.set_rng_state(torch.from_numpy(np.array(own["rng.cuda"])), device)
    return {name: float(array) for name, array in own.items() if array.ndim == 0 and name != "step"}


def _rng_states(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})
