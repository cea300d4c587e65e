"""A position within an epoch: training resumes from it to the same bits."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from worker.training.optimizer import Arrays

PREFIX = "mid_epoch."


@dataclass(frozen=True)
class MidEpoch:
    """The state between two steps of an epoch; with the weights, all that resuming needs.

    Its arrays may be views of what training changes: write them before the next step.
    """

    step: int  # steps done in the whole run
    state: Arrays


def position_arrays(step: int, sums: Mapping[str, float]) -> Arrays:
    """Return the step and the epoch's sums so far."""
    numbers = {"step": step, **sums}
    return {f"{PREFIX}{name}": np.asarray(number, np.float64) for name, number in numbers.items()}


def step_of(arrays: Arrays | None) -> int | None:
    """Return the number of steps done if these arrays hold a position within an epoch."""
    return None if arrays is None or f"{PREFIX}step" not in arrays else int(arrays[f"{PREFIX}step"])


def sums_of(arrays: Arrays) -> dict[str, float]:
    """Return the epoch's sums so far."""
    own = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    return {name: float(array) for name, array in own.items() if name != "step"}
