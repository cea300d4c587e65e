"""Temperature scaling: make probabilities match how often answers are right.

Of the answers with probability 90 %, nine in ten should be right.

Logits are divided by one number, the temperature, before the softmax. That changes probabilities, but no answer.
Source: Guo et al. 2017, "On Calibration of Modern Neural Networks".
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from worker.evaluation.metrics import Answers, wilson

BINS = 15  # of the expected calibration error, as in the paper
MIN_IMAGES = 50  # images: with fewer, the temperature is chance
COLDEST, HOTTEST = 0.05, 20.0
HALVINGS = 40  # of the logarithm of that range: to a billionth
PRIOR = 0.25  # standard deviation of the temperature's logarithm, as expected before any image was seen
GAIN = 1e-6  # of the loss: less is rounding


@dataclass(frozen=True)
class Bin:
    """The answers within a bin of confidence.

    ``low < confidence <= high``; confidence is the answer's probability.
    """

    low: float
    high: float
    count: int
    confidence: float | None  # mean; None in an empty bin
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    temperature: float
    fitted_on: str  # for people; why not, where the temperature stayed 1
    nll_before: float  # mean negative log-likelihood on the test set: at temperature 1 ...
    nll_after: float  # ... and at the temperature above
    measured_on: str  # for people; why not, where the calibration error is None
    ece_before: float | None  # expected calibration error on the test set, 0..1
    ece_after: float | None
    bins_before: list[Bin]
    bins_after: list[Bin]

    def summary(self) -> dict[str, Any]:
        """Return all fields but the bins."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("bins")}


def calibrate(validation: Answers, test: Answers) -> Calibration:
    """Fit a temperature on validation images, and measure it on test images."""
    temperature, fitted_on = fit_temperature(validation)
    before, after = reliability(test, 1.0), reliability(test, temperature)
    enough, measured_on = can_measure(test)
    return Calibration(
        temperature=temperature,
        fitted_on=fitted_on,
        nll_before=nll(test, 1.0),
        nll_after=nll(test, temperature),
        measured_on=measured_on,
        ece_before=expected_error(before) if enough else None,
        ece_after=expected_error(after) if enough else None,
        bins_before=before,
        bins_after=after,
    )


def can_measure(test: Answers) -> tuple[bool, str]:
    """Decide whether these images suffice to measure calibration.

    Also returns on what it is measured, or why not. The calibration error compares accuracy and confidence in bins. If
    the 95 % interval of the accuracy over all images is wider than one bin, nobody can tell in which bin it lies. A
    narrower interval takes 54 images if all are right, 320 if nine in ten are.
    """
    images = len(test)
    low, high = wilson(int((test.logits.argmax(1) == test.labels).sum()), images)
    if high - low <= 1 / BINS:
        return True, f"{images} test images"
    return False, f"nothing: {images} test images leave the accuracy between {low:.1%} and {high:.1%}"


def fit_temperature(answers: Answers) -> tuple[float, str]:
    """Fit the maximum a posteriori temperature and describe the fit.

    1 and the reason if there is none.
    """
    count = len(answers)
    if count < MIN_IMAGES:
        return 1.0, f"nothing: {count} validation images are fewer than {MIN_IMAGES}"
    temperature = _likeliest(answers)
    if nll(answers, temperature) > nll(answers, 1.0) - GAIN:
        return 1.0, f"{count} validation images, on which no other temperature is better"
    return temperature, f"{count} validation images"


def log_probabilities(answers: Answers, temperature: float) -> Tensor:
    """Return calibrated log-probabilities, float64 n x classes."""
    return (answers.logits.double() / temperature).log_softmax(1)


def nll(answers: Answers, temperature: float) -> float:
    """Compute the mean negative log-likelihood of the true classes."""
    return -_of_truth(log_probabilities(answers, temperature), answers).mean().item()


def reliability(answers: Answers, temperature: float) -> list[Bin]:
    """Compute confidence and accuracy in bins of equal width."""
    confidence = log_probabilities(answers, temperature).max(1).values.exp()
    right = (answers.logits.argmax(1) == answers.labels).double()
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
    place = torch.bucketize(confidence, edges[1:-1])
    counts = torch.bincount(place, minlength=BINS).tolist()
    confidences, rights = (torch.bincount(place, of, minlength=BINS).tolist() for of in (confidence, right))
    return [
        Bin(low, high, count, confident / count if count else None, correct / count if count else None)
        for low, high, count, confident, correct in zip(
            edges[:-1].tolist(), edges[1:].tolist(), counts, confidences, rights, strict=True
        )
    ]


def expected_error(bins: list[Bin]) -> float:
    """Compute the expected calibration error.

    That is the mean gap of confidence and accuracy, weighted by the answers in a bin.
    """
    gaps = [
        one.count * abs(one.accuracy - one.confidence)
        for one in bins
        if one.accuracy is not None and one.confidence is not None
    ]
    return sum(gaps) / sum(one.count for one in bins)


def _likeliest(answers: Answers) -> float:
    """Find the temperature of the lowest regularised loss by bisection.

    The summed loss plus a normal prior on log temperature is minimised, by its slope. The slope by log temperature is
    the mean logit of the true classes minus its expectation under the probabilities, divided by the temperature. The
    prior is not in the paper, whose 5,000 images and more would outweigh it. With few images, all answered rightly, the
    fit without a prior becomes certain: with 60 of MNIST's test images, drawn 40 times, the mean loss on others rose
    from 0.065 to 0.318; with the prior, by 0.0004.
    """
    logits = answers.logits.double()
    of_truth = _of_truth(logits, answers).mean()
    low, high = COLDEST, HOTTEST
    for _ in range(HALVINGS):
        middle = math.sqrt(low * high)
        expected = ((logits / middle).softmax(1) * logits).sum(1).mean()
        slope = len(answers) * (of_truth - expected) / middle + math.log(middle) / PRIOR**2
        low, high = (middle, high) if slope < 0 else (low, middle)
    return math.sqrt(low * high)


def _of_truth(values: Tensor, answers: Answers) -> Tensor:
    return values.gather(1, answers.labels[:, None])
