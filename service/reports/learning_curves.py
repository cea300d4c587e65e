"""Draw a job's learning curves: loss and accuracy.

Loss is on the left and accuracy on the right; dashes distinguish them too.
"""

import math
from collections.abc import Sequence
from typing import Any

Metrics = Sequence[dict[str, Any]]
COLOURS = ("#0072b2", "#0072b2", "#d55e00", "#d55e00")  # Okabe and Ito's, which colour-blind people can tell apart
Line = tuple[str, str, bool, str]  # title, key, on the second axis, dashes
LINES: tuple[Line, ...] = (
    ("training loss", "train_loss", False, "1, 0"),
    ("validation loss, dashed", "validation_loss", False, "6, 4"),
    ("training accuracy, % (right)", "train_accuracy", True, "1, 0"),
    ("validation accuracy, %, dotted (right)", "validation_accuracy", True, "2, 3"),
)
# on a dark page; the lines in the lighter ones of the same colours
DARK = """inline:@media (prefers-color-scheme: dark) {
svg { background: #1d2026 !important; }
.graph > .background, .plot > .background { fill: #1d2026 !important; }
text { fill: #e8eaee !important; }
.axis path { stroke: #a3abb9 !important; }
.axis path.guide { stroke: #363b45 !important; }
.color-0, .color-1 { stroke: #56b4e9 !important; fill: #56b4e9 !important; }
.color-2, .color-3 { stroke: #e69f00 !important; fill: #e69f00 !important; }
.reactive.line { fill: none !important; } }"""


def draw(title: str, history: Metrics, lines: Sequence[Line] = LINES, *, width: int = 900, height: int = 480) -> bytes:
    """Draw an SVG with one point per epoch.

    Without epochs it says so.
    """
    import pygal  # at the first chart: the service starts faster without it

    chart: Any = pygal.Line(
        title=title,
        x_title="epoch",
        x_labels=[str(metrics["epoch"]) for metrics in history],
        x_labels_major_count=min(10, max(1, len(history))),
        show_minor_x_labels=False,
        # pygal lays the second axis along the first, which must not be a point
        range=(0, _highest_loss(history)) if any(secondary for _, _, secondary, _ in lines) else None,
        secondary_range=(0, 100),
        no_data_text="no epoch has ended yet",
        **look(width, height),
    )
    top = _top(history)
    for name, key, secondary, dashes in lines:
        values = [_scaled(metrics.get(key), "accuracy" in key) for metrics in history]
        known = [value for value in values if value is not None]
        if not known:
            continue
        if "loss" in key and max(known) > top:
            name, values = f"{name}, up to {max(known):.3g}", [value and min(value, top) for value in values]
        chart.add(name, values, secondary=secondary, stroke_style={"width": 3, "dasharray": dashes}, dots_size=2)
    picture: bytes = chart.render()
    return picture


def _top(history: Metrics) -> float:
    """Return the upper end of the loss axis.

    One wild validation loss would flatten all the rest.
    """
    return 2 * max((metrics["train_loss"] for metrics in history if metrics.get("train_loss")), default=math.inf)


def _highest_loss(history: Metrics) -> float:
    losses = [metrics.get(key) or 0.0 for metrics in history for key in ("train_loss", "validation_loss")]
    return min(max(losses, default=0.0), _top(history)) or 1.0


def look(width: int, height: int) -> dict[str, Any]:
    """Return the options that every chart has in common."""
    from pygal.style import Style

    plain = {"background": "white", "plot_background": "white", "font_family": "sans-serif", "transition": "0s"}
    guides = {"guide_stroke_dasharray": "1, 0", "guide_stroke_color": "#d9dce2"}
    lines = {"opacity": "1", "stroke_opacity": "1", "stroke_width": "inherit"}  # each says its own width
    sizes = {"label_font_size": 13, "major_label_font_size": 13, "no_data_font_size": 32}
    return {
        "js": (),  # nothing is loaded from elsewhere, and nothing runs
        "css": ("file://style.css", "file://graph.css", DARK),
        "disable_xml_declaration": False,
        "legend_at_bottom": True,
        "legend_at_bottom_columns": 2,
        "truncate_legend": -1,  # never
        "value_formatter": lambda value: f"{value:.3g}",
        "style": Style(
            colors=COLOURS,
            **plain,
            **lines,
            **sizes,
            **guides,
            **{f"major_{name}": as_all for name, as_all in guides.items()},
        ),
        "width": width,
        "height": height,
    }


def _scaled(value: float | None, percent: bool) -> float | None:
    return value * 100 if percent and value is not None else value
