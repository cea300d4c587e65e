"""Evaluation report of a model: card, reliability bins and worst mistakes."""

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from PIL import Image
from torch import Tensor

from worker.data.splits import Split, Splits
from worker.evaluation.metrics import Answers, macro
from worker.evaluation.temperature_scaling import Calibration, log_probabilities

WORST = 25  # mistakes that are shown


def model_report(card: dict[str, Any], calibration: Calibration, test: Answers, splits: Splits) -> dict[str, Any]:
    """Build the evaluation report of a model.

    ``test`` holds the answers for the test split, in its order.
    """
    return card | {
        "images": {name: len(getattr(splits, name)) for name in ("train", "validation", "test")},
        "macro": macro(card["per_class"]),
        "calibration": card["calibration"] | asdict(calibration),
        "mistakes": worst_mistakes(test, splits.test, card["classes"], calibration.temperature),
    }


def worst_mistakes(test: Answers, part: Split, classes: Sequence[str], temperature: float) -> list[dict[str, Any]]:
    """List the wrong answers with the highest loss, worst first.

    Each has its image as PNG in base64. Probabilities are calibrated, as in /predict; the loss is the negative
    log-probability of the true class.
    """
    logs = log_probabilities(test, temperature)
    answers = test.logits.argmax(1)
    wrong = (answers != test.labels).nonzero().flatten()
    losses = -logs[wrong, test.labels[wrong]]
    worst = wrong[losses.argsort(descending=True, stable=True)[:WORST]]

    def entry(index: int, label: int) -> dict[str, Any]:
        return {"label": classes[label], "probability": logs[index, label].exp().item()}

    return [
        {
            "index": index,
            "truth": entry(index, truth),
            "answer": entry(index, answer),
            "loss": -logs[index, truth].item(),
            "png": _png(part.some([index])[0]),
        }
        for index, truth, answer in zip(
            worst.tolist(), test.labels[worst].tolist(), answers[worst].tolist(), strict=True
        )
    ]


def _png(pixels: Tensor) -> str:
    """Encode an image as PNG in base64.

    uint8, height x width x 1 or 3.
    """
    file = io.BytesIO()
    Image.fromarray(pixels.cpu().squeeze(-1).numpy()).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
