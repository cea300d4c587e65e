"""Recipe, the body of POST /jobs, and ResolvedRecipe without "auto".

Both are validated; a ResolvedRecipe has every "auto" decided.
"""

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from core.model_references import REFERENCE, refusal
from core.networks import MIN_BATCH_SIZE, Optimizer, lookup
from core.presets import Preset, with_defaults
from core.printable import check_name
from core.urls import MASK, check_url

# built in; others are folders of images
_DATASETS = """
    digits mnist fashion_mnist kmnist qmnist emnist_digits emnist_letters usps svhn cifar10 cifar100
    imagenette eurosat country211 rendered_sst2 food101 dtd
"""
DATASETS = tuple(_DATASETS.split())
UNTRAINED = ("imagenet", "random")  # weights that are no model's
ImageFit = Literal["crop", "pad", "squash"]
DATASET_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
DATASET_REFERENCE = r"^[a-z0-9][a-z0-9_-]{0,63}(/[1-9][0-9]{0,8})?$"  # pets, or pets/2: a version of an uploaded one

SECRET_PREFIX, MIN_SECRET_LENGTH = "whsec_", 24  # bytes; Standard Webhooks
NO_NUL = r"^[^\x00]*$"  # PostgreSQL cannot store NUL in text or read JSON fields that hold one
Metadata = dict[
    Annotated[str, StringConstraints(max_length=64), AfterValidator(check_name)],
    Annotated[str, StringConstraints(max_length=512, pattern=NO_NUL)],
]


class EarlyStopping(BaseModel):
    """Conditions for ending before the last epoch."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    patience: int = Field(3, ge=1, le=10_000, description="Stop after this many epochs in a row without improvement.")
    min_delta: float = Field(
        0.0, ge=0, lt=1, description="Smallest rise of validation accuracy that counts as improvement, as a share."
    )


class Webhook(BaseModel):
    """A webhook for a job's events, signed after https://www.standardwebhooks.com."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        description="HTTP or HTTPS URL to call, on a public address by default; redirects are not followed."
    )
    events: Annotated[list[Literal["status", "metrics", "checkpoint", "done"]], FailFast()] = Field(
        ["done"],
        min_length=1,
        max_length=4,
        description="Events to deliver; `done` is the end of the job, with any status.",
    )
    secret: str | None = Field(
        None,
        min_length=16,
        max_length=512,
        pattern=NO_NUL,
        repr=False,  # nor is it shown by the API: service.api.schemas.jobs
        description="Signing key: whsec_ and at least 24 bytes in base64, or any text. It is never shown again.",
        json_schema_extra={"writeOnly": True},
    )

    @field_validator("url")
    @classmethod
    def _url_can_be_called(cls, value: str) -> str:
        if value.endswith(f"/{MASK}"):
            raise ValueError("must be the whole address: its path is not shown, since it is often a secret")
        check_url(value)
        return value

    @field_validator("secret")
    @classmethod
    def _secret_is_what_it_seems(cls, value: str | None) -> str | None:
        if value is not None and value.startswith(SECRET_PREFIX) and len(secret_bytes(value)) < MIN_SECRET_LENGTH:
            raise ValueError(f"must hold at least {MIN_SECRET_LENGTH} bytes in base64 after {SECRET_PREFIX}")
        return value


def secret_bytes(secret: str) -> bytes:
    """Decode a webhook's secret to the signing key.

    Empty if it is not base64 after its prefix.
    """
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    text = secret.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


class _Shared(BaseModel):
    """Fields that are the same before and after ``auto`` is resolved."""

    # floats that overflow to infinity are rejected: JSON cannot represent them
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: Annotated[str, StringConstraints(max_length=200), AfterValidator(check_name)] | None = Field(
        None, description="Name of the job, for people; without control and invisible characters."
    )
    dataset: str = Field(
        "mnist",
        pattern=DATASET_REFERENCE,
        description='Name of a data set, such as "digits"; GET /datasets lists all. "pets/2" is a version of an '
        "uploaded one; without a version it is the newest, which the job then names.",
    )
    rerun: str | None = Field(
        None,
        pattern=rf"^{REFERENCE}$",
        description="A model of yours, such as pets/3, to train again: its resolved recipe and its version of the data "
        "set, but for the fields given beside this one.",
    )
    network: str = Field(
        "resnet50",
        max_length=100,
        description="Name of a classification network; GET /networks lists all but those of timm, such as "
        "timm/resnet18.a1_in1k, which GET /networks?search=timm/ lists. The pre-trained weights of efficientnet_lite0 "
        "are installed with the worker, those of others are downloaded.",
    )
    model: str | None = Field(
        None,
        validate_default=True,
        description="Name to publish under; default: the data set's. Versions count within a name.",
        examples=["pets"],
    )
    weights: str = Field(
        "imagenet",
        pattern=rf"^(imagenet|random|{REFERENCE})$",
        description='Initial weights: "imagenet" (pre-trained), "random", or a model of yours, such as "pets@best".',
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD; other optimizers ignore it.")
    schedule: Literal["onecycle", "cosine", "step", "constant"] = Field(
        "onecycle",
        description="Decay of the learning rate after the warm-up. onecycle: to a ten-thousandth; cosine: to 0; step: "
        "to a tenth after one third and again after two thirds of the remaining steps; constant: none.",
    )
    warmup_fraction: float = Field(
        0.2, ge=0, le=1, description="Share of the steps in which the learning rate rises to its peak."
    )
    freeze: str = Field(
        "none",
        pattern=r"^(none|backbone|until:[A-Za-z0-9_.]{1,64})$",
        description='Part that is not trained: "none", "backbone" (all but the head) or "until:<stage>"; '
        "GET /networks/{name} lists the stages.",
    )
    unfreeze_after: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Number of epochs after which the frozen part is trained too; default: never.",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Share of each label that is spread over all classes.")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description='"balanced": every class has equal weight in the loss, whatever its number of images.'
    )
    gradient_clipping: float | None = Field(
        None, gt=0, description="Maximum norm of a step's gradient; default: no limit."
    )
    train_samples: int | None = Field(
        None, ge=2, description="Size of a class-balanced subset to train on, in images; default: all images."
    )
    validation_fraction: float = Field(
        0.1, ge=0, le=0.5, description="Share of the training images held back to select the best epoch."
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="Stop training when validation no longer gets better."
    )
    seed: int = Field(
        0, ge=0, lt=2**31, description="Seed of the initial weights, the order of images and their augmentation."
    )
    priority: int = Field(0, ge=-100, le=100, description="Priority in the queue; the highest starts first.")
    time_limit_s: float | None = Field(
        None,
        ge=1,
        description="Seconds of running after which the job fails with `timeout`; waiting and pauses do not count.",
    )
    max_attempts: int = Field(3, ge=1, le=100, description="Maximum number of attempts if the job's process dies.")
    publish: Literal["always", "if_better", "manual"] = Field(
        "always",
        description="When the name switches to the new version. always: at once. if_better: only if its test accuracy "
        "on the same test images exceeds the serving version's. manual: after PUT /models/{name}/aliases/serving. A "
        "version whose classes differ from the serving one's always needs that call.",
    )
    metadata: Metadata = Field(default_factory=dict, max_length=16, description="Your own key-value pairs, up to 16.")

    @property
    def model_name(self) -> str:
        """Return the name that the recipe's model is published under."""
        return self.model or parse_dataset(self.dataset)[0]

    @field_validator("model")
    @classmethod
    def _name_of_models(cls, value: str | None, info: ValidationInfo) -> str | None:
        dataset: str | None = info.data.get("dataset")
        name = parse_dataset(dataset)[0] if value is None and dataset else value
        if name is not None and (reason := refusal(name)):
            raise ValueError(
                reason if value is not None else f"is needed: models cannot have the data set's name, which {reason}"
            )
        return value

    @field_validator("unfreeze_after")
    @classmethod
    def _something_is_frozen(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("freeze") == "none":
            raise ValueError('needs freeze to be "backbone" or "until:<stage>"')
        return value

    @field_validator("early_stopping")
    @classmethod
    def _something_is_held_back(cls, value: EarlyStopping | None, info: ValidationInfo) -> EarlyStopping | None:
        if value is not None and info.data.get("validation_fraction") == 0:
            raise ValueError("needs a validation_fraction above 0")
        return value

    @field_validator("network")
    @classmethod
    def _known_network(cls, value: str) -> str:
        if reason := lookup.refusal(value):
            raise ValueError(reason)
        return value

    @field_validator("freeze")
    @classmethod
    def _known_stage(cls, value: str, info: ValidationInfo) -> str:
        network = lookup.find(info.data.get("network", ""))
        if network and value.startswith("until:") and value.removeprefix("until:") not in network.stages:
            raise ValueError(f"must name a stage of {network.name}: {', '.join(network.stages)}")
        return value


class Recipe(_Shared):
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


class ResolvedRecipe(_Shared):
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


def parse_dataset(reference: str) -> tuple[str, int | None]:
    """Split a reference to a data set into name and version.

    The version is None if there is none.
    """
    name, _, version = reference.partition("/")
    return name, int(version) if version else None


def _within(value: int | str, low: int, high: int) -> int | str:
    if not isinstance(value, str) and not low <= value <= high:
        raise ValueError(f'must be {low} to {high}, or "auto"')
    return value
