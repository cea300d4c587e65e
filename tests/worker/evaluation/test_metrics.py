"""worker.evaluation.metrics: how good a network is, checked by hand."""

import math

import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor, nn

import worker.training.batched_forward
from core.errors import LossNotFinite
from worker.data.splits import Split
from worker.evaluation.metrics import Evaluation, evaluate, macro, predict, score, wilson

# images of one pixel: its value is the class that the network below answers
TRUTH = [0, 0, 0, 1, 1, 2]
ANSWERS = [0, 0, 1, 1, 1, 0]
PART = Split(torch.tensor(ANSWERS, dtype=torch.uint8).view(-1, 1, 1, 1), torch.tensor(TRUTH))


class SaysItsPixel(nn.Module):
    """Class = pixel, with logit ``sure``, every other with 0."""

    def __init__(self, sure: float = 2.0) -> None:
        super().__init__()
        self.sure = sure

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        assert images.dtype == torch.float32
        return nn.functional.one_hot(images.flatten().long(), 3) * self.sure


class ToFloat(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2).float()


def test_accuracy_loss_and_confusion_are_what_they_are_called() -> None:
    result = evaluate(SaysItsPixel(), ToFloat(), PART, 3)
    right, wrong = math.log(math.e**2 + 2) - 2, math.log(math.e**2 + 2)
    assert result.accuracy == pytest.approx(4 / 6)
    assert result.loss == pytest.approx((4 * right + 2 * wrong) / 6)
    assert result.confusion_matrix == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_the_logits_are_the_networks_own_in_the_order_of_the_images() -> None:
    answers = predict(SaysItsPixel(), ToFloat(), PART, 3)
    assert torch.equal(answers.logits, 2.0 * nn.functional.one_hot(torch.tensor(ANSWERS), 3))
    assert answers.logits.dtype == torch.float32
    assert answers.labels.tolist() == TRUTH
    assert score(answers) == evaluate(SaysItsPixel(), ToFloat(), PART, 3)


def test_a_part_without_images_has_no_answers() -> None:
    nothing = Split(torch.zeros(0, 1, 1, 1, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    assert predict(SaysItsPixel(), ToFloat(), nothing, 3).logits.shape == (0, 3)


def test_every_image_counts_once_however_they_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(SaysItsPixel(), ToFloat(), PART, 3)
    monkeypatch.setattr(worker.training.batched_forward, "MAX_BATCH_SIZE", 4)  # 4 and 2
    split = evaluate(SaysItsPixel(), ToFloat(), PART, 3)
    assert split.loss == pytest.approx(whole.loss)
    assert (split.accuracy, split.confusion_matrix) == (whole.accuracy, whole.confusion_matrix)


def test_each_class_has_precision_and_recall() -> None:
    rows = evaluate(SaysItsPixel(), ToFloat(), PART, 3).per_class(("a", "b", "c"))
    assert [row["label"] for row in rows] == ["a", "b", "c"]
    assert [row["images"] for row in rows] == [3, 2, 1]
    assert [row["precision"] for row in rows] == [pytest.approx(2 / 3), pytest.approx(2 / 3), None]  # c: never said
    assert [row["recall"] for row in rows] == [pytest.approx(2 / 3), 1.0, 0.0]
    assert [row["f1"] for row in rows] == [pytest.approx(2 / 3), pytest.approx(4 / 5), 0.0]


def test_every_class_counts_the_same_in_the_macro_recall() -> None:
    found = Evaluation(loss=1.0, accuracy=0.92, confusion_matrix=[[90, 0, 0], [8, 2, 0], [0, 0, 0]])
    assert found.macro_recall == pytest.approx((1.0 + 0.2) / 2)  # the last class has no images
    sure, rare = (91 / 92) * (1 / 92) / 92, (3 / 12) * (9 / 12) / 12
    assert found.macro_recall_error == pytest.approx(math.sqrt(sure + rare) / 2)


def test_a_few_images_that_are_all_right_leave_some_doubt() -> None:
    few = Evaluation(loss=0.1, accuracy=1.0, confusion_matrix=[[9, 0], [0, 9]])
    assert few.accuracy_error == pytest.approx(math.sqrt((19 / 20) * (1 / 20) / 20))
    many = Evaluation(loss=0.1, accuracy=1.0, confusion_matrix=[[900, 0], [0, 900]])
    assert 0 < many.accuracy_error < few.accuracy_error / 50


def test_a_class_without_images_has_no_recall() -> None:
    rows = Evaluation(loss=1.0, accuracy=0.5, confusion_matrix=[[1, 1], [0, 0]]).per_class(("a", "b"))
    assert rows[1] == {"label": "b", "images": 0, "precision": 0.0, "recall": None, "f1": 0.0}


def test_a_class_that_was_neither_there_nor_answered_has_no_measure_at_all() -> None:
    rows = Evaluation(loss=1.0, accuracy=1.0, confusion_matrix=[[2, 0], [0, 0]]).per_class(("a", "b"))
    assert rows[1] == {"label": "b", "images": 0, "precision": None, "recall": None, "f1": None}
    assert macro(rows) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}  # over "a" alone


def test_the_macro_averages_are_those_that_people_know() -> None:
    rows = evaluate(SaysItsPixel(), ToFloat(), PART, 3).per_class(("a", "b", "c"))
    wanted = precision_recall_fscore_support(TRUTH, ANSWERS, average="macro", zero_division=0)
    assert list(macro(rows).values()) == pytest.approx(wanted[:3])


def test_an_accuracy_has_its_count_and_its_95_percent_interval() -> None:
    found = Evaluation(loss=1.0, accuracy=10 / 12, confusion_matrix=[[6, 1], [1, 4]]).counted
    assert found == {
        "correct": 10,
        "images": 12,
        "low": pytest.approx(0.552, abs=1e-3),
        "high": pytest.approx(0.953, abs=1e-3),
    }
    assert list(wilson(0, 10)) == pytest.approx([0, 0.2775], abs=1e-4)  # Newcombe 1998
    assert list(wilson(10, 10)) == pytest.approx([0.7225, 1], abs=1e-4)


@pytest.mark.parametrize("sure", [float("nan"), float("inf"), float("-inf")])
def test_a_network_that_answers_with_no_numbers_is_not_given_a_mark(sure: float) -> None:
    with pytest.raises(LossNotFinite, match="logits for 6 images"):
        evaluate(SaysItsPixel(sure), ToFloat(), PART, 3)


@pytest.mark.parametrize("sure", [3e38, -3e38])
def test_the_largest_numbers_still_get_one(sure: float) -> None:
    assert math.isfinite(evaluate(SaysItsPixel(sure), ToFloat(), PART, 3).loss)


def test_looking_changes_nothing() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(1, 3))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert torch.equal(predict(network, ToFloat(), PART, 3).logits, predict(network, ToFloat(), PART, 3).logits)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
