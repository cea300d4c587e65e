"""The prediction for one image, as /predict and batch predictions return it."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from core.imaging.preparation import Prepared

NO_DIGIT = "no_digit"
BLANK, OUT_OF_DISTRIBUTION = "nothing on the image to read", "unlike the training images"  # why the model abstains


class Candidate(BaseModel):
    label: str = Field(description="Class name.")
    probability: float = Field(description="0 to 1, calibrated; the probabilities of all classes add up to 1.")


class Neighbour(BaseModel):
    """A training image that is near to an image."""

    image: int | None = Field(
        None, description="Number of the image in its data set; only for keys that may read, while the data set has it."
    )
    label: str = Field(description="Class that the image had in the training.")
    distance: float = Field(description="1 minus the cosine of the two images' features: 0 is the same image.")
    thumbnail: str | None = Field(None, description="Path of a small picture of it, likewise.")


class Prediction(BaseModel):
    """The prediction for an image, or the error for this image alone."""

    label: str | None = Field(None, description="Name of the most probable class.")
    class_index: int | None = Field(None, description="Index of that class in the model's `classes`, from 0.")
    probability: float | None = Field(None, description="Probability of that class: 0 to 1, calibrated.")
    top_k: list[Candidate] | None = Field(None, description="The most probable classes, most probable first.")
    abstained: bool = Field(False, description="Whether the model abstains; `reason` says why.")
    reason: str | None = Field(None, description="Why the model abstains. For a blank image the label is `no_digit`.")
    ood_score: float | None = Field(
        None, description="Out-of-distribution score: about 0 for images like the training images; above 1 it abstains."
    )
    preprocessing: dict[str, Any] | None = Field(None, description="The preprocessing steps applied to the image.")
    model_input: str | None = Field(None, description="With `include_input`: the network's input, a PNG in base64.")
    saliency_map: str | None = Field(None, description="With `explain`: the saliency map, a PNG in base64.")
    neighbours: list[Neighbour] | None = Field(
        None, description="With `neighbours`: the nearest training images, the nearest first."
    )
    error: dict[str, Any] | None = Field(None, description="Why this image has no prediction; other fields are empty.")


def of_blank(prepared: Prepared) -> Prediction:
    """Build the prediction for a blank image.

    The network does not see it.
    """
    return Prediction(label=NO_DIGIT, abstained=True, reason=BLANK, preprocessing=prepared.preprocessing)


def of_answer(
    probabilities: npt.NDArray[np.float32],
    ood_score: float | None,
    prepared: Prepared,
    classes: tuple[str, ...],
    top_k: int,
) -> Prediction:
    """Build the prediction from the network's outputs; ``probabilities`` by class index."""
    likeliest = probabilities.argsort()[::-1][:top_k].tolist()
    candidates = [
        Candidate(label=classes[index], probability=round(float(probabilities[index]), 6)) for index in likeliest
    ]
    is_ood = ood_score is not None and ood_score > 1
    return Prediction(
        label=candidates[0].label,
        class_index=likeliest[0],
        probability=candidates[0].probability,
        top_k=candidates,
        abstained=is_ood,
        reason=OUT_OF_DISTRIBUTION if is_ood else None,
        ood_score=None if ood_score is None else round(ood_score, 4),
        preprocessing=prepared.preprocessing,
    )
