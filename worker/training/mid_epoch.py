"""A position within an epoch; resuming from it is bit-exact."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from worker.training.optimizer import Arrays

PREFIX = "mid_epoch."


@dataclass(frozen=True)
class MidEpoch:
    """State between two steps of an epoch.

    With the weights, it is all that resuming needs. Its arrays may be views of what training changes: write them before
    the next step.
    """

    step: int  # steps done in the whole run
    state: Arrays


def position_arrays(step: int, sums: Mapping[str, float]) -> Arrays:
    """Return the step and the epoch's sums so far."""
    numbers = {"step": step, **sums}
    return {f"{PREFIX}{name}": np.asarray(number, np.float64) for name, number in numbers.items()}


def step_of(arrays: Arrays | None) -> int | None:
    """Return the steps done if the arrays hold a mid-epoch position.

    None if they do not.
    """
    return None if arrays is None or f"{PREFIX}step" not in arrays else int(arrays[f"{PREFIX}step"])


def sums_of(arrays: Arrays) -> dict[str, float]:
    """Return the epoch's sums so far."""
    own = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    return {name: float(array) for name, array in own.items() if name != "step"}
