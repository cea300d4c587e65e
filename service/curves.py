"""A job's learning curves as a picture: loss on the left, accuracy on the right, told apart by dashes too."""

from collections.abc import Sequence
from typing import Any

Metrics = Sequence[dict[str, Any]]
COLOURS = ("#0072b2", "#0072b2", "#d55e00", "#d55e00")  # Okabe and Ito's, which all eyes tell apart
LINES = (  # title, key, on the second axis, dashes
    ("training loss", "train_loss", False, "1, 0"),
    ("validation loss, dashed", "validation_loss", False, "6, 4"),
    ("training accuracy, % (right)", "train_accuracy", True, "1, 0"),
    ("validation accuracy, %, dotted (right)", "validation_accuracy", True, "2, 3"),
)


def draw(title: str, history: Metrics) -> bytes:
    """An SVG of one point an epoch; without epochs it says so."""
    import pygal  # when the first picture is asked for: the service has to be ready sooner
    from pygal.style import Style

    chart: Any = pygal.Line(
        title=title,
        x_title="epoch",
        x_labels=[str(metrics["epoch"]) for metrics in history],
        x_labels_major_count=min(10, max(1, len(history))),
        show_minor_x_labels=False,
        secondary_range=(0, 100),
        no_data_text="no epoch has ended yet",
        legend_at_bottom=True,
        legend_at_bottom_columns=2,
        js=(),  # nothing is loaded from elsewhere, and nothing runs
        disable_xml_declaration=False,
        style=Style(background="white", plot_background="white", font_family="sans-serif", colors=COLOURS),
        width=900,
        height=480,
    )
    for name, key, secondary, dashes in LINES:
        values = [_scaled(metrics.get(key), secondary) for metrics in history]
        if any(value is not None for value in values):
            chart.add(name, values, secondary=secondary, stroke_style={"width": 3, "dasharray": dashes}, dots_size=2)
    picture: bytes = chart.render()
    return picture


def _scaled(value: float | None, percent: bool) -> float | None:
    return value * 100 if percent and value is not None else value
