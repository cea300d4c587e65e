"""worker.evaluation.report: the report of a network that learned the embedded digits.

It is small and has truly learned them.
"""

import base64
import io
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from core.artifacts.manifest import to_json
from core.settings import Settings
from worker.data.datasets.digits import load
from worker.data.splits import Split, Splits, split
from worker.evaluation.metrics import Answers, predict, score
from worker.evaluation.report import WORST, model_report, worst_mistakes
from worker.evaluation.temperature_scaling import Calibration, calibrate

CLASSES = tuple("0123456789")


class Scale(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def splits() -> Splits:
    return split(load(Settings()), 200, 0.1, seed=0)


@pytest.fixture(scope="module")
def network(splits: Splits) -> nn.Module:
    """A layer that has learned from 200 images and is overconfident.

    Its weights are made three times as large, so that it is three times as sure.
    """
    torch.manual_seed(0)
    layer = nn.Linear(784, 10)
    learner = nn.Sequential(nn.Flatten(), layer)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    for _ in range(100):
        images = Scale()(splits.train.some(range(200)))
        loss = nn.functional.cross_entropy(learner(images), splits.train.labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(3)
    return learner


@pytest.fixture(scope="module")
def answers_on_test(network: nn.Module, splits: Splits) -> Answers:
    return predict(network, Scale(), splits.test, 10)


@pytest.fixture(scope="module")
def calibration(network: nn.Module, splits: Splits, answers_on_test: Answers) -> Calibration:
    return calibrate(predict(network, Scale(), splits.validation, 10), answers_on_test)


@pytest.fixture(scope="module")
def card(answers_on_test: Answers, calibration: Calibration) -> dict[str, Any]:
    evaluation = score(answers_on_test)
    return {
        "id": "model_1",
        "classes": list(CLASSES),
        "history": [{"epoch": 1, "train_loss": 0.5, "validation_loss": None}],
        "metrics": {"test_accuracy": evaluation.accuracy},
        "test": evaluation.counted,
        "confusion_matrix": evaluation.confusion_matrix,
        "per_class": evaluation.per_class(CLASSES),
        "calibration": calibration.summary(),
    }


@pytest.fixture(scope="module")
def report(card: dict[str, Any], calibration: Calibration, answers_on_test: Answers, splits: Splits) -> dict[str, Any]:
    return model_report(card, calibration, answers_on_test, splits)


def test_it_is_the_card_and_more(report: dict[str, Any], card: dict[str, Any]) -> None:
    assert {name: report[name] for name in card if name != "calibration"} == {
        name: card[name] for name in card if name != "calibration"
    }
    assert report["calibration"].items() > card["calibration"].items()
    assert report["images"] == {"train": 200, "validation": 144, "test": 360}
    assert set(report["macro"]) == {"precision", "recall", "f1"}


def test_it_comes_through_json_unchanged(report: dict[str, Any]) -> None:
    assert json.loads(to_json(report)) == report


def test_the_network_was_too_sure_and_the_temperature_mends_that(report: dict[str, Any]) -> None:
    told = report["calibration"]
    assert 1.3 < told["temperature"] < 3
    assert told["nll_after"] < told["nll_before"]
    assert told["ece_after"] < told["ece_before"]
    for bins in (told["bins_before"], told["bins_after"]):
        right = sum(one["count"] * one["accuracy"] for one in bins if one["count"])
        assert right / 360 == pytest.approx(report["metrics"]["test_accuracy"])


def test_mistakes_are_the_wrong_answers_worst_first(report: dict[str, Any], answers_on_test: Answers) -> None:
    answers = answers_on_test.logits.argmax(1)
    wrong = int((answers != answers_on_test.labels).sum())
    assert wrong > 5
    assert len(report["mistakes"]) == min(wrong, WORST)
    losses = [mistake["loss"] for mistake in report["mistakes"]]
    assert losses == sorted(losses, reverse=True)
    for mistake in report["mistakes"]:
        truth, answer = answers_on_test.labels[mistake["index"]], answers[mistake["index"]]
        assert (mistake["truth"]["label"], mistake["answer"]["label"]) == (CLASSES[truth], CLASSES[answer])


def test_mistakes_have_the_probabilities_that_predict_gives(report: dict[str, Any], answers_on_test: Answers) -> None:
    mistake = report["mistakes"][0]
    logits = answers_on_test.logits[mistake["index"]] / report["calibration"]["temperature"]
    probabilities = dict(zip(CLASSES, logits.softmax(0).tolist(), strict=True))
    for told in (mistake["truth"], mistake["answer"]):
        assert told["probability"] == pytest.approx(probabilities[told["label"]], rel=1e-4)
    assert mistake["loss"] == pytest.approx(-math.log(mistake["truth"]["probability"]))


def test_mistakes_show_the_images_of_the_test_set(report: dict[str, Any], splits: Splits) -> None:
    for mistake in report["mistakes"]:
        with Image.open(io.BytesIO(base64.b64decode(mistake["png"]))) as image:
            assert (image.format, image.mode) == ("PNG", "L")
            np.testing.assert_array_equal(np.asarray(image), splits.test.some([mistake["index"]])[0, :, :, 0].numpy())


def made_up(count: int, channels: int = 1) -> tuple[Answers, Split]:
    """``count`` images of class 0, all called 1; the later, the surer."""
    logits = torch.stack([torch.zeros(count), torch.arange(1.0, count + 1)], 1)
    images = torch.randint(0, 256, (count, 5, 7, channels), dtype=torch.uint8)
    labels = torch.zeros(count, dtype=torch.int64)
    return Answers(logits, labels), Split(images, labels)


def test_there_are_never_more_mistakes_than_can_be_looked_at() -> None:
    answers, part = made_up(1000)
    mistakes = worst_mistakes(answers, part, ("no", "yes"), 1.0)
    assert [mistake["index"] for mistake in mistakes] == list(range(999, 999 - WORST, -1))


def test_a_loss_beyond_all_bounds_is_still_a_number() -> None:
    answers = Answers(torch.tensor([[0.0, 3e38]]), torch.tensor([0]))
    (mistake,) = worst_mistakes(answers, made_up(1)[1], ("no", "yes"), 0.05)
    assert mistake["truth"]["probability"] == 0
    assert json.loads(to_json(mistake)) == mistake


def test_colour_images_stay_in_colour() -> None:
    answers, part = made_up(1, channels=3)
    (mistake,) = worst_mistakes(answers, part, ("no", "yes"), 1.0)
    with Image.open(io.BytesIO(base64.b64decode(mistake["png"]))) as image:
        np.testing.assert_array_equal(np.asarray(image), part.some([0])[0].numpy())


def test_a_network_without_mistakes_has_none_to_show() -> None:
    answers, part = made_up(3)
    assert worst_mistakes(Answers(answers.logits, part.labels + 1), part, ("no", "yes"), 1.0) == []
