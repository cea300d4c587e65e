"""Learning-rate schedules and parameter groups.

A rate depends on the step alone, so that a resumed run needs nothing but the step's number.
"""

import math
from typing import Any, Literal

from torch import nn

START_DIVISOR = 25.0  # one-cycle starts at peak / 25 ... (Smith and Topin 2018; torch's OneCycleLR)
END_DIVISOR = 1e4  # ... and ends at peak / 10,000
STEP_DROPS = (1 / 3, 2 / 3)  # "step": a tenth after each of these shares of the training


def learning_rate(
    kind: Literal["onecycle", "cosine", "step", "constant"], peak: float, step: int, steps: int, warmup_fraction: float
) -> float:
    """Return the learning rate for a step, counted from 0.

    Every schedule first rises over ``warmup_fraction`` of the steps.
    """
    warmup = round(warmup_fraction * steps)
    if step < warmup:
        return _cosine(peak / START_DIVISOR, peak, step / warmup)
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    if kind == "onecycle":
        return _cosine(peak, peak / END_DIVISOR, progress)
    if kind == "cosine":
        return _cosine(peak, 0.0, progress)
    if kind == "step":
        return peak * 0.1 ** sum(progress >= drop for drop in STEP_DROPS)
    return peak


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the trained parameters into those with and those without weight decay.

    Matrices and kernels decay. Biases and norms do not, since decay only hurts them (He et al. 2018, 3.1), nor does
    anything else that is no layer's weight: scales, position tables, class tokens.
    """
    trained = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    decayed = [parameter for name, parameter in trained if parameter.ndim > 1 and name.endswith("weight")]
    undecayed = [parameter for name, parameter in trained if parameter.ndim <= 1 or not name.endswith("weight")]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
