"""How true the probabilities are: a reliability diagram, before and after the temperature."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.curves import look
from service.report.figures import percent
from service.report.html import Html, table

Bins = Sequence[Mapping[str, Any]]  # low, high, count, confidence, accuracy; the last two None in an empty bin
DIAGONAL = ((0, 0), (100, 100))


def diagram(calibration: Mapping[str, Any], width: int, height: int) -> bytes:
    """An SVG: confidence across, the share of right answers up; on the diagonal both are the same."""
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


def bins_table(bins: Bins) -> Html:
    rows = [
        (f"{100 * one['low']:.0f} to {percent(one['high'], 0)}", str(one["count"]), *_shares(one))
        for one in bins
        if one["count"]
    ]
    return table("Answers by their probability", ["Probability", "Answers", "Mean of it", "Right"], rows)


def _shares(one: Mapping[str, Any]) -> tuple[str, str]:
    return percent(one["confidence"], 1), percent(one["accuracy"], 1)


def _points(bins: Bins) -> list[tuple[float, float]]:
    return [(100 * one["confidence"], 100 * one["accuracy"]) for one in bins if one["count"]]


def _line(dashes: str) -> dict[str, Any]:
    return {"width": 3, "dasharray": dashes}
