"""Fields of a recipe that are the same before and after ``auto`` is resolved."""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from core.dataset_references import DATASET_REFERENCE, parse_dataset
from core.model_references import REFERENCE, refusal
from core.networks import lookup
from core.printable import NO_NUL, check_name

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


class SharedFields(BaseModel):
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
