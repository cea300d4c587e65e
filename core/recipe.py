"""Recipe: a training request, validated. It is the body of POST /jobs; ResolvedRecipe is what truly ran."""

import difflib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

DATASETS = ("digits", "mnist", "fashion_mnist", "kmnist", "usps")  # built in; others are folders of images

# torchvision's classification networks. Named here, since the service must know them without importing torch;
# a test holds the list against torchvision's own.
_NETWORKS = """
    alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169
    densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5
    efficientnet_b6 efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s googlenet inception_v3
    maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small
    regnet_x_16gf regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf
    regnet_y_128gf regnet_y_16gf regnet_y_1_6gf regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf
    regnet_y_8gf resnet101 resnet152 resnet18 resnet34 resnet50 resnext101_32x8d resnext101_64x4d
    resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0
    squeezenet1_1 swin_b swin_s swin_t swin_v2_b swin_v2_s swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16
    vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32 vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2
"""
NETWORKS = tuple(_NETWORKS.split())

MODEL_ID = r"model_[0-9a-z_]{1,60}"
Metadata = dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]]


class _Shared(BaseModel):
    """The fields that mean the same before and after ``auto`` is resolved."""

    # floats that overflow to infinity are refused: no recipe means them, and JSON cannot show them again
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str | None = Field(None, max_length=200, description="A name for people.")
    dataset: str = Field(
        "mnist",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description=f"{', '.join(DATASETS)}, or the name of a folder of images; GET /datasets lists all.",
    )
    network: str = Field("resnet50", description="A classification network of torchvision.")
    weights: str = Field(
        "imagenet",
        pattern=rf"^(imagenet|random|{MODEL_ID})$",
        description='"imagenet" (pre-trained), "random", or the id of one of our models to go on from.',
    )
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD only.")
    weight_decay: float = Field(5e-4, ge=0, le=1)
    schedule: Literal["onecycle", "cosine", "step", "constant"] = "onecycle"
    warmup_fraction: float = Field(0.2, ge=0, le=1, description="Share of the steps in which the rate rises.")
    freeze: str = Field(
        "none",
        pattern=r"^(none|backbone|until:[A-Za-z0-9_.]{1,64})$",
        description='"none", "backbone" (train the head alone) or "until:<stage>", like "until:layer3".',
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    train_samples: int | None = Field(
        None, ge=2, description="Train on a class-balanced subset of this many images; default: all."
    )
    validation_fraction: float = Field(
        0.1, ge=0, le=0.5, description="Share of the training images held back to choose the best epoch."
    )
    seed: int = Field(0, ge=0, lt=2**31)
    max_attempts: int = Field(3, ge=1, le=100, description="How often the job may be run if its process dies.")
    metadata: Metadata = Field(default_factory=dict, max_length=16, description="Up to 16 pairs of your own.")

    @field_validator("network")
    @classmethod
    def _known_network(cls, value: str) -> str:
        if value not in NETWORKS:
            alike = difflib.get_close_matches(value, NETWORKS)
            hint = f"did you mean {' or '.join(alike)}? " if alike else ""
            raise ValueError(f"is not a network that can be trained; {hint}GET /networks lists them")
        return value


class Recipe(_Shared):
    """A training job. Every field has a default: ``{}`` is a valid body."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"dataset": "digits", "weights": "random"},
                {"dataset": "mnist", "network": "resnet50", "epochs": 2, "batch_size": 128, "learning_rate": 0.1},
            ]
        }
    )

    image_size: int | Literal["auto"] = Field("auto", description="Side in pixels that the network sees; 16 to 1024.")
    epochs: int | Literal["auto"] = Field("auto", description="1 to 10,000.")
    batch_size: int | Literal["auto"] = Field("auto", description="2 to 65,536.")
    learning_rate: float | Literal["auto"] = Field("auto", description="The schedule's peak; above 0, at most 100.")
    augmentation: Literal["auto", "none", "digits"] = Field(
        "auto", description="Random changes of training images. digits: small rotations, shifts and scales."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$", description='"auto", "cpu", "mps", "cuda" or "cuda:1".'
    )

    @field_validator("image_size")
    @classmethod
    def _image_size_in_range(cls, value: int | str) -> int | str:
        return _within(value, 16, 1024)

    @field_validator("epochs")
    @classmethod
    def _epochs_in_range(cls, value: int | str) -> int | str:
        return _within(value, 1, 10_000)

    @field_validator("batch_size")
    @classmethod
    def _batch_size_in_range(cls, value: int | str) -> int | str:
        return _within(value, 2, 65_536)

    @field_validator("learning_rate")
    @classmethod
    def _learning_rate_in_range(cls, value: float | str) -> float | str:
        if not isinstance(value, str) and not 0 < value <= 100:
            raise ValueError('must be above 0 and at most 100, or "auto"')
        return value


class ResolvedRecipe(_Shared):
    """The recipe with every ``auto`` decided, as recorded in the job's row and beside the weights."""

    image_size: int
    epochs: int
    batch_size: int
    learning_rate: float
    augmentation: Literal["none", "digits"]
    precision: Literal["fp32", "bf16", "fp16"]
    device: str  # "cpu", "mps" or "cuda:<index>"


def _within(value: int | str, low: int, high: int) -> int | str:
    if not isinstance(value, str) and not low <= value <= high:
        raise ValueError(f'must be {low} to {high}, or "auto"')
    return value
