"""Jinja2 environment of the report's templates, and the filters that they use."""

import base64
import json
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.reports.confusion_matrix import MAX_CLASSES, most_frequent_mistakes, shade
from service.reports.learning_curves import Line, draw
from service.reports.number_format import UNKNOWN, accuracy, count, duration, milliseconds, number, percent
from service.reports.reliability_diagram import diagram

if TYPE_CHECKING:
    from jinja2 import Environment

WIDTH, HEIGHT = 480, 340  # of a picture; small enough to be read on a phone
MISTAKE_PX = 84  # side of a mistake's image, as in style.css
LOSS: tuple[Line, ...] = (
    ("training", "train_loss", False, "1, 0"),
    ("validation, dashed", "validation_loss", False, "6, 4"),
)
ACCURACY: tuple[Line, ...] = (
    ("training", "train_accuracy", False, "1, 0"),
    ("validation, dashed", "validation_accuracy", False, "6, 4"),
)


@cache
def environment() -> "Environment":
    """Make the Jinja2 environment.

    It escapes every value and raises UndefinedError if the report lacks one.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # on the first report: 0.1 s of starting time

    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"MAX_CLASSES": MAX_CLASSES, "MISTAKE_PX": MISTAKE_PX}
    made.filters |= {
        "accuracy": accuracy,
        "accuracy_curve": partial(draw, "Accuracy, %", lines=ACCURACY, width=WIDTH, height=HEIGHT),
        "base64": lambda content: base64.b64encode(content).decode(),
        "batch_sizes": batch_sizes,
        "count": count,
        "duration": duration,
        "loss_curve": partial(draw, "Loss", lines=LOSS, width=WIDTH, height=HEIGHT),
        "milliseconds": milliseconds,
        "most_frequent_mistakes": most_frequent_mistakes,
        "number": number,
        "percent": percent,
        "reliability_diagram": partial(diagram, width=WIDTH, height=HEIGHT),
        "settings": settings,
        "shade": shade,
    }
    return made


def batch_sizes(latency_ms: Mapping[str, Mapping[str, float]]) -> list[str]:
    """List the batch sizes that any graph was timed with, smallest first."""
    return sorted({batch for times in latency_ms.values() for batch in times}, key=int)


def settings(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each recipe entry's name and value; a dash if missing."""
    for name, value in recipe.items():
        yield name.replace("_", " "), _text(value)


def _text(value: Any) -> str:
    if value is None or value == {}:
        return UNKNOWN
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
