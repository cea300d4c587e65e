"""Recipe, the body of POST /jobs, and ResolvedRecipe without "auto".

Both are validated; a ResolvedRecipe has every "auto" decided.
"""

from typing import Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from core.networks import MIN_BATCH_SIZE, Optimizer, lookup
from core.recipes.presets import Preset, with_defaults
from core.recipes.shared_fields import SharedFields
from core.recipes.webhook import Webhook

UNTRAINED = ("imagenet", "random")  # weights that are no model's
ImageFit = Literal["crop", "pad", "squash"]


class Recipe(SharedFields):
    """A training job; every field has a default.

    So ``{}`` is a valid body.
    """

    preset: Preset | None = Field(
        None,
        description="Other defaults; every field can still be given. quick: a head on the frozen efficientnet_lite0, "
        "fitted in seconds. accurate: fine-tuning with early stopping, of the best network whose weights are here.",
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataset": "digits", "weights": "random"},
                {"dataset": "mnist", "network": "resnet50", "epochs": 2, "batch_size": 128, "learning_rate": 0.1},
            ]
        }
    )

    image_size: int | Literal["auto"] = Field("auto", description="Side of the network's input in pixels, 16 to 1024.")
    image_fit: ImageFit | Literal["auto"] = Field(
        "auto",
        description="How photos of any shape become square. crop: the middle square; pad: the whole on a grey square; "
        "squash: the whole, distorted. auto: crop, unless one photo in ten would lose more than half. Digits have a "
        "form of their own.",
    )
    epochs: int | Literal["auto"] = Field("auto", description="Number of passes over the training images, 1 to 10,000.")
    batch_size: int | Literal["auto"] = Field("auto", description="Images per training step, 2 to 65,536.")
    learning_rate: float | Literal["auto"] = Field(
        "auto", description="Peak learning rate of the schedule; above 0, at most 100."
    )
    optimizer: Literal["auto", "sgd", "adam", "adamw", "lbfgs"] = Field(
        "auto",
        description="Optimizer; auto: the one recommended for the network. lbfgs: fits the head of a frozen backbone "
        "on all images at once and, with weight_decay auto, chooses that on images that it is not fitted on.",
    )
    weight_decay: float | Literal["auto"] = Field("auto", description="Weight decay, 0 to 1.")
    augmentation: Literal["auto", "none", "digits", "flip", "photos"] = Field(
        "auto",
        description="Random changes of training images. digits: rotation, shift, scale, shear, stroke width; no flip. "
        "flip: left to right. photos: crop, flip, colour. With unfreeze_after, from then on.",
    )
    ema: float | Literal["auto"] = Field(
        "auto", description="Decay of the running mean of the weights, 0 to below 1. The mean is published; 0: no mean."
    )
    compile: bool | Literal["auto"] = Field("auto", description="Whether to compile the network with torch.compile.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="Number format of the training. auto: bf16 if the device supports it, else fp16 on a GPU and fp32 "
        "elsewhere.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$",
        description='Device to train on: "auto", "cpu", "mps", "cuda" or "cuda:1".',
    )
    devices: Literal[1, "auto"] = Field(1, description="Number of devices, always 1; more workers use more devices.")

    webhook: Webhook | None = Field(None, description="Webhook that receives the job's events.")

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, fields: Any) -> Any:
        return with_defaults(fields["preset"], fields) if isinstance(fields, dict) and fields.get("preset") else fields

    @field_validator("optimizer")
    @classmethod
    def _head_alone(cls, value: str, info: ValidationInfo) -> str:
        if value != "lbfgs":
            return value
        if info.data.get("freeze") != "backbone" or info.data.get("unfreeze_after") is not None:
            raise ValueError('lbfgs needs freeze to be "backbone", without unfreeze_after')
        if info.data.get("epochs") not in ("auto", 1):
            raise ValueError("lbfgs takes all images at once: epochs must be 1 or left out")
        return value

    @field_validator("augmentation")
    @classmethod
    def _kept_activations(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("optimizer") == "lbfgs" and value not in ("auto", "none"):
            raise ValueError("must be none with the optimizer lbfgs")
        return value

    @field_validator("image_size")
    @classmethod
    def _image_size_that_fits(cls, value: int | str, info: ValidationInfo) -> int | str:
        side, network = _within(value, 16, 1024), lookup.find(info.data.get("network", ""))
        refusal = network.refusal(side) if network and not isinstance(side, str) else None
        if refusal:
            raise ValueError(refusal)
        return side

    @field_validator("devices", mode="before")
    @classmethod
    def _one_device(cls, value: Any) -> Any:
        if isinstance(value, int) and value != 1:
            raise ValueError('must be 1 or "auto": a job trains on one device; for more at a time, run more workers')
        return value

    @field_validator("epochs")
    @classmethod
    def _epochs_in_range(cls, value: int | str) -> int | str:
        return _within(value, 1, 10_000)

    @field_validator("batch_size")
    @classmethod
    def _batch_size_in_range(cls, value: int | str) -> int | str:
        return _within(value, MIN_BATCH_SIZE, 65_536)

    @field_validator("ema")
    @classmethod
    def _ema_in_range(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and not 0 <= value < 1:
            raise ValueError('must be at least 0 and less than 1, or "auto"')
        return value

    @field_validator("weight_decay")
    @classmethod
    def _weight_decay_in_range(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and not 0 <= value <= 1:
            raise ValueError('must be 0 to 1, or "auto"')
        return value

    @field_validator("learning_rate")
    @classmethod
    def _learning_rate_in_range(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and not 0 < value <= 100:
            raise ValueError('must be above 0 and at most 100, or "auto"')
        return value


class ResolvedRecipe(SharedFields):
    """The recipe with every ``auto`` decided, as stored with job and model."""

    image_size: int
    image_fit: ImageFit | None = None  # None: digits, which are brought to MNIST's form
    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Optimizer | Literal["lbfgs"] = "sgd"
    weight_decay: float = 5e-4
    augmentation: Literal["none", "digits", "flip", "photos"]
    ema: float = 0.0
    compile: bool = False
    precision: Literal["fp32", "bf16", "fp16"]
    device: str  # "cpu", "mps" or "cuda:<index>"
    devices: int = 1

    @model_validator(mode="before")
    @classmethod
    def _without_webhook(cls, fields: Any) -> Any:
        """Drop the webhook, whose secret must not be stored, and the preset.

        Recipes are stored beside checkpoints and models.
        """
        return {name: value for name, value in fields.items() if name not in ("webhook", "preset")}


def _within(value: int | str, low: int, high: int) -> int | str:
    if not isinstance(value, str) and not low <= value <= high:
        raise ValueError(f'must be {low} to {high}, or "auto"')
    return value
