"""Presets of a recipe: defaults that suit a purpose.

A field that is given is never changed.
"""

from collections.abc import Mapping
from typing import Any, Literal

from core.networks import EFFICIENTNET_LITE0

Preset = Literal["quick", "accurate"]
# fields of a training by steps: where one is given, the head is not fitted in one go
OF_STEPS = frozenset(
    (
        *("optimizer", "epochs", "freeze", "unfreeze_after", "augmentation", "batch_size", "learning_rate", "momentum"),
        *("schedule", "warmup_fraction", "gradient_clipping", "ema", "early_stopping"),
    )
)
QUICK: Mapping[str, Any] = {"network": EFFICIENTNET_LITE0, "freeze": "backbone", "augmentation": "none"}
HEAD_EPOCHS, ACCURATE_EPOCHS = 3, 20
ACCURATE: Mapping[str, Any] = {
    "freeze": "backbone",
    "unfreeze_after": HEAD_EPOCHS,
    "epochs": ACCURATE_EPOCHS,
    "label_smoothing": 0.1,
    "early_stopping": {"patience": 5},
}
# of which "accurate" takes the first whose weights are at hand
ACCURATE_NETWORKS = ("resnet50", "efficientnet_v2_s", "convnext_tiny", "resnet18", "mobilenet_v2", EFFICIENTNET_LITE0)


def with_defaults(preset: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """Add the preset's defaults to the given fields of a recipe.

    Defaults that would contradict the given fields are left out.
    """
    if preset == "quick":
        by_steps = not OF_STEPS.isdisjoint(given)
        return {**QUICK, **({} if by_steps else {"optimizer": "lbfgs"}), **given}
    if preset != "accurate":
        return dict(given)
    defaults = dict(ACCURATE)
    epochs = given.get("epochs")
    too_few = isinstance(epochs, int) and epochs <= HEAD_EPOCHS
    if too_few or given.get("freeze") is not None or given.get("weights") == "random":
        del defaults["unfreeze_after"]  # nothing is frozen, or there is no time for it
        del defaults["freeze"]
    if given.get("validation_fraction") == 0:
        del defaults["early_stopping"]
    return {**defaults, **given}
