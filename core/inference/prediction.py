"""What is said of an image: the words of /predict, and of the lines of a batch."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from core.imaging.preparation import Prepared

NO_DIGIT = "no_digit"
BLANK, STRANGE = "nothing on the image to read", "unlike the training images"  # why the model abstains


class Candidate(BaseModel):
    label: str = Field(description="Of the class.")
    probability: float = Field(description="0 to 1, calibrated; those of all classes add up to 1.")


class Prediction(BaseModel):
    """An answer, or the error of this image alone."""

    label: str | None = Field(None, description="Of the likeliest class.")
    class_index: int | None = Field(None, description="Its place in the model's `classes`, from 0.")
    probability: float | None = Field(None, description="That it is right: 0 to 1, calibrated.")
    top_k: list[Candidate] | None = Field(None, description="The likeliest classes, the first of them again first.")
    abstained: bool = Field(False, description="The answer is not to be relied on; `reason` says why.")
    reason: str | None = Field(None, description="Of abstaining. Without anything to read, the label is `no_digit`.")
    strangeness: float | None = Field(None, description="About 0: like the training images. Above 1 it abstains.")
    preprocessing: dict[str, Any] | None = Field(None, description="What was done to the image first.")
    model_input: str | None = Field(None, description="With `include_input`: what the network saw, a PNG in base64.")
    saliency_map: str | None = Field(None, description="With `explain`: where hiding it costs most, a PNG in base64.")
    error: dict[str, Any] | None = Field(None, description="A problem; then all else is empty.")


def of_blank(prepared: Prepared) -> Prediction:
    """Of an image on which there is nothing to read: the network is not asked."""
    return Prediction(label=NO_DIGIT, abstained=True, reason=BLANK, preprocessing=prepared.preprocessing)


def of_answer(
    probabilities: npt.NDArray[np.float32],
    strangeness: float | None,
    prepared: Prepared,
    classes: tuple[str, ...],
    top_k: int,
) -> Prediction:
    """Of what the network answered: ``probabilities`` by class index."""
    likeliest = probabilities.argsort()[::-1][:top_k].tolist()
    candidates = [
        Candidate(label=classes[index], probability=round(float(probabilities[index]), 6)) for index in likeliest
    ]
    strange = strangeness is not None and strangeness > 1
    return Prediction(
        label=candidates[0].label,
        class_index=likeliest[0],
        probability=candidates[0].probability,
        top_k=candidates,
        abstained=strange,
        reason=STRANGE if strange else None,
        strangeness=None if strangeness is None else round(strangeness, 4),
        preprocessing=prepared.preprocessing,
    )
