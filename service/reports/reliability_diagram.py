"""Reliability diagram: accuracy over confidence, before and after temperature scaling."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.reports.learning_curves import look

Bins = Sequence[Mapping[str, Any]]  # low, high, count, confidence, accuracy; the last two None in an empty bin
DIAGONAL = ((0, 0), (100, 100))


def diagram(calibration: Mapping[str, Any], width: int, height: int) -> bytes:
    """Draw an SVG; a calibrated model lies on the diagonal."""
    import pygal

    chart: Any = pygal.XY(
        title="How often an answer was right",
        x_title="probability of the answer, %",
        range=(0, 100),
        xrange=(0, 100),
        **look(width, height),
    )
    chart.add("before, dashed", _points(calibration["bins_before"]), stroke_style=_line("6, 4"), dots_size=3)
    chart.add(None, [])  # each colour stands twice in the row of them
    chart.add("with the temperature", _points(calibration["bins_after"]), stroke_style=_line("1, 0"), dots_size=4)
    chart.add("ideal, thin", DIAGONAL, stroke_style={"width": 1, "dasharray": "1, 0"}, show_dots=False)
    picture: bytes = chart.render()
    return picture


def _points(bins: Bins) -> list[tuple[float, float]]:
    return [(100 * one["confidence"], 100 * one["accuracy"]) for one in bins if one["count"]]


def _line(dashes: str) -> dict[str, Any]:
    return {"width": 3, "dasharray": dashes}
