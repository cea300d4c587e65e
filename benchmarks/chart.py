"""Draw the README's chart of requests per second: ``python -m benchmarks.chart``.

The figures are those of the last table of servers in docs/benchmarks.md, so that chart and document agree.
"""

import re
from pathlib import Path

import pygal
from pygal.style import Style

ROOT = Path(__file__).parents[1]
TABLE, CHART = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "images" / "requests.svg"
ROW = re.compile(r"^\| (?P<server>[^|]+) \| [^|]+ \| (?P<rate>[\d,]+) \(", re.MULTILINE)  # of the column c=32
OURS, THEIRS = "#2f6f4f", "#9aa5a0"


def main() -> None:
    """Write docs/images/requests.svg."""
    text = TABLE.read_text()
    newest = text[text.rindex("\n| server |") :].split("\n\n", 1)[0]
    rates = {row["server"]: int(row["rate"].replace(",", "")) for row in ROW.finditer(newest)}
    CHART.write_bytes(draw(rates))
    print(CHART, rates)


def draw(rates: dict[str, int]) -> bytes:
    """Draw horizontal bars, the fastest on top, as an SVG.

    The SVG has no scripts.
    """
    style = Style(
        background="#ffffff", plot_background="#ffffff", font_family="sans-serif", value_font_size=15, opacity="1"
    )
    chart = pygal.HorizontalBar(
        style=style,
        width=720,
        height=60 + 45 * len(rates),
        show_legend=False,
        print_values=True,
        js=(),
        margin=8,
        show_y_guides=False,
    )
    chart.title = "Predictions per second, 32 clients, 2 cores, ResNet-50 at 64 pixels"
    slowest_first = sorted(rates, key=lambda server: rates[server])
    chart.x_labels = slowest_first
    chart.add(
        "", [{"value": rates[server], "color": OURS if server == "tuneserve" else THEIRS} for server in slowest_first]
    )
    rendered: bytes = chart.render()
    return rendered


if __name__ == "__main__":
    main()
