"""worker.evaluation.temperature_scaling: probabilities are right as often as they say.

The numbers can be checked by hand.
"""

import json
import math
from dataclasses import asdict

import pytest
import torch

from worker.evaluation.metrics import Answers
from worker.evaluation.temperature_scaling import (
    BINS,
    COLDEST,
    HOTTEST,
    MIN_IMAGES,
    calibrate,
    expected_error,
    fit_temperature,
    log_probabilities,
    nll,
    reliability,
)


def sure(*answers: tuple[float, bool]) -> Answers:
    """Make answers between two classes.

    Each gives class 0 that probability, and says whether that was right.
    """
    logits = torch.tensor([[math.log(probability), math.log(1 - probability)] for probability, _ in answers])
    return Answers(logits, torch.tensor([0 if right else 1 for _, right in answers]))


def honest(count: int, classes: int = 10, scale: float = 1.0, seed: int = 0) -> Answers:
    """Make logits that are calibrated, then multiply them by ``scale``.

    Their softmax is the true chance of each class, and the labels are drawn by it.
    """
    chance = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=chance)
    labels = torch.multinomial(logits.softmax(1), 1, generator=chance).flatten()
    return Answers(logits * scale, labels)


def nobody() -> Answers:
    return Answers(torch.zeros(0, 10), torch.zeros(0, dtype=torch.int64))


def filled(answers: Answers) -> dict[int, tuple[int, float, float]]:
    bins = reliability(answers, 1.0)
    return {
        place: (one.count, round(one.confidence, 4), round(one.accuracy, 4))
        for place, one in enumerate(bins)
        if one.confidence is not None and one.accuracy is not None
    }


# -- the curve and its error


def test_answers_lie_in_the_bin_of_their_confidence() -> None:
    answers = sure((0.9, True), (0.92, False), (0.62, True), (0.62, True))
    assert filled(answers) == {13: (2, 0.91, 0.5), 9: (2, 0.62, 1.0)}


def test_the_error_is_the_mean_gap_weighted_by_the_answers() -> None:
    answers = sure((0.9, True), (0.92, False), (0.62, True), (0.62, True))
    assert expected_error(reliability(answers, 1.0)) == pytest.approx((2 * 0.41 + 2 * 0.38) / 4)


def test_gaps_of_one_bin_cancel_as_they_should() -> None:
    """Gaps within a bin cancel: no calibration error.

    The answers are right three times in four, at a confidence of three quarters.
    """
    answers = sure((0.75, True), (0.75, True), (0.75, False), (0.75, True))
    assert expected_error(reliability(answers, 1.0)) == pytest.approx(0, abs=1e-7)


def test_certainty_that_is_always_wrong_is_as_wrong_as_can_be() -> None:
    answers = Answers(torch.tensor([[100.0, 0.0]]), torch.tensor([1]))
    assert expected_error(reliability(answers, 1.0)) == pytest.approx(1)
    assert filled(answers) == {BINS - 1: (1, 1.0, 0.0)}


def test_a_bin_holds_its_upper_edge() -> None:
    """A bin holds its upper edge.

    All three alike is a confidence of 1/3, the upper edge of the fifth of fifteen bins.
    """
    (place,) = filled(Answers(torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64)))
    assert place == 4


def test_the_bins_are_equally_wide_and_hold_every_answer_once() -> None:
    bins = reliability(honest(500), 1.0)
    assert (bins[0].low, bins[-1].high, len(bins)) == (0, 1, BINS)
    assert all(one.high - one.low == pytest.approx(1 / BINS) for one in bins)
    assert sum(one.count for one in bins) == 500


def test_an_empty_bin_has_neither_confidence_nor_accuracy() -> None:
    empty = reliability(sure((0.9, True)), 1.0)[0]
    assert (empty.count, empty.confidence, empty.accuracy) == (0, None, None)


# -- the temperature


@pytest.mark.parametrize("scale", [3.0, 1.5, 0.5, 0.2])
def test_the_scale_of_the_logits_is_found_again(scale: float) -> None:
    temperature, fitted_on = fit_temperature(honest(20_000, scale=scale))
    assert temperature == pytest.approx(scale, rel=0.03)
    assert fitted_on == "20000 validation images"


def test_it_is_the_same_each_time_and_in_any_order() -> None:
    answers = honest(200, scale=2.0)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    again = Answers(answers.logits[order], answers.labels[order])
    assert fit_temperature(answers) == fit_temperature(answers)
    assert fit_temperature(again)[0] == pytest.approx(fit_temperature(answers)[0], rel=1e-6)


def test_no_other_temperature_is_likelier_than_the_one_found() -> None:
    """The temperature that is found has the lowest loss.

    With 20,000 images the prior weighs nothing.
    """
    answers = honest(20_000, scale=3.0)
    found = fit_temperature(answers)[0]
    assert all(nll(answers, found) < nll(answers, found * factor) for factor in (0.9, 1.1))


@pytest.mark.parametrize("count", [0, 1, MIN_IMAGES - 1])
def test_too_few_images_leave_it_at_one_and_say_so(count: int) -> None:
    temperature, fitted_on = fit_temperature(honest(count, scale=3.0) if count else nobody())
    assert temperature == 1
    assert fitted_on == f"nothing: {count} validation images are fewer than {MIN_IMAGES}"


def test_a_network_that_says_the_same_of_all_classes_keeps_it_at_one() -> None:
    temperature, fitted_on = fit_temperature(Answers(torch.full((100, 10), 7.0), torch.arange(100) % 10))
    assert temperature == 1
    assert fitted_on == "100 validation images, on which no other temperature is better"


def test_images_that_are_all_right_do_not_make_it_certain_of_everything() -> None:
    """A perfect validation part does not make the temperature extreme.

    The bare fit has no optimum here: it would go to the coldest temperature there is.
    """
    logits = 6 * torch.nn.functional.one_hot(torch.arange(60) % 10, 10).float()
    temperature, _ = fit_temperature(Answers(logits, torch.arange(60) % 10))
    assert 0.8 < temperature <= 1


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_it_stays_within_its_bounds(scale: float) -> None:
    assert COLDEST <= fit_temperature(honest(5000, scale=scale))[0] <= HOTTEST


def test_a_network_that_is_worse_than_guessing_is_made_unsure() -> None:
    answers = honest(2000)
    temperature, _ = fit_temperature(Answers(-answers.logits, answers.labels))
    assert temperature > 5


@pytest.mark.parametrize("temperature", [COLDEST, 0.7, 3.0, HOTTEST])
def test_no_answer_changes(temperature: float) -> None:
    answers = honest(5000, scale=3.0)
    assert torch.equal(log_probabilities(answers, temperature).argmax(1), answers.logits.argmax(1))


def test_the_loss_is_the_cross_entropy_of_the_divided_logits() -> None:
    answers = honest(300)
    wanted = torch.nn.functional.cross_entropy(answers.logits / 2, answers.labels).item()
    assert nll(answers, 2.0) == pytest.approx(wanted, rel=1e-5)


# -- both together


def test_a_network_that_is_too_sure_is_mended_on_images_it_was_not_fitted_on() -> None:
    result = calibrate(honest(2000, scale=3.0), honest(5000, scale=3.0, seed=1))
    assert result.temperature == pytest.approx(3, rel=0.1)
    assert result.nll_after < 0.8 * result.nll_before
    assert result.ece_before is not None
    assert result.ece_before > 0.2
    assert result.ece_after is not None
    assert result.ece_after < 0.02


def test_the_test_set_has_no_say_in_the_temperature() -> None:
    validation = honest(2000, scale=3.0)
    one, other = (calibrate(validation, honest(1000, scale=scale)) for scale in (0.2, 5.0))
    assert one.temperature == other.temperature


def test_without_a_validation_part_nothing_changes() -> None:
    result = calibrate(nobody(), honest(500, scale=3.0))
    assert (result.nll_after, result.ece_after, result.bins_after) == (
        result.nll_before,
        result.ece_before,
        result.bins_before,
    )


def test_a_calibration_error_is_not_claimed_from_a_handful_of_images() -> None:
    """A calibration error needs enough images.

    There are enough when the accuracy is known better than a bin of the diagram is wide.
    """

    def right(images: int) -> Answers:
        return Answers(torch.tensor([[9.0, 0.0]]).repeat(images, 1), torch.zeros(images, dtype=torch.int64))

    few, enough = calibrate(nobody(), right(53)), calibrate(nobody(), right(54))
    assert (few.ece_before, few.ece_after) == (None, None)
    assert few.measured_on == "nothing: 53 test images leave the accuracy between 93.2% and 100.0%"
    assert enough.ece_after is not None
    assert enough.measured_on == "54 test images"


def test_the_summary_is_all_but_the_bins() -> None:
    result = calibrate(honest(200), honest(500))
    assert set(result.summary()) == {
        "temperature",
        "fitted_on",
        "measured_on",
        "nll_before",
        "nll_after",
        "ece_before",
        "ece_after",
    }
    assert json.loads(json.dumps(asdict(result), allow_nan=False)) == asdict(result)
