"""service.reports.learning_curves: a job's history as a picture."""

from collections.abc import Callable
from xml.etree import ElementTree

import httpx
import pytest

from core.db.database import Database
from core.repositories import events
from core.repositories.jobs import Claim
from service.reports.learning_curves import draw
from tests.conftest import NOW

SVG = "{http://www.w3.org/2000/svg}"


def epoch(number: int, **more: float | None) -> dict[str, float | None]:
    known = {"train_loss": 2 / number, "train_accuracy": 1 - 1 / (number + 1)}
    return {"epoch": number, **known, "validation_loss": None, "validation_accuracy": None, **more}


def texts(picture: bytes) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_each_epoch_is_a_point_of_each_line(epochs: int) -> None:
    history = [epoch(n, validation_loss=1.0, validation_accuracy=0.5) for n in range(1, epochs + 1)]
    picture = draw("a job", history)
    dots = ElementTree.fromstring(picture).iter(f"{SVG}circle")
    assert len([dot for dot in dots if "dot" in dot.get("class", "")]) == 4 * epochs
    assert "a job" in texts(picture)


def test_lines_without_figures_are_left_out() -> None:
    shown = texts(draw("a job", [epoch(1), epoch(2)]))
    assert "training loss" in shown
    assert not any("validation" in text for text in shown)


def test_a_wild_validation_loss_is_cut_off_and_told() -> None:
    picture = draw(
        "a job", [epoch(1, validation_loss=2.5), epoch(2, validation_loss=39.0), epoch(3, validation_loss=1.0)]
    )
    assert "validation loss, dashed, up to 39" in texts(picture)
    assert not {"10", "20", "30"} & set(texts(picture))
    assert "validation loss, dashed" in texts(draw("a job", [epoch(1, validation_loss=2.5)]))


def test_lines_are_told_apart_without_colour() -> None:
    picture = draw("a job", [epoch(n, validation_loss=1.0, validation_accuracy=0.5) for n in (1, 2)]).decode()
    assert len({piece.split(";")[0].split("}")[0] for piece in picture.split("stroke-dasharray:")[1:]}) >= 3


def test_a_job_without_an_epoch_says_so() -> None:
    assert "no epoch has ended yet" in texts(draw("a job", []))


def test_a_name_cannot_break_the_picture() -> None:
    assert "</svg><script>" in texts(draw("</svg><script>", [epoch(1)]))


async def test_the_picture_of_a_job_is_served(
    http: httpx.AsyncClient, claimed: Callable[..., Claim], db: Database
) -> None:
    claim = claimed(name="first try", dataset="digits")
    with db.write() as session:
        events.append(session, claim.job_id, "metrics", epoch(1), NOW, 1)
    answer = await http.get(f"/jobs/{claim.job_id}/curves.svg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert "first try: resnet50 on digits" in texts(answer.content)
    assert (await http.get("/jobs/job_none/curves.svg")).status_code == 404


def test_accuracy_is_drawn_in_percent_on_the_whole_height_of_the_right_axis() -> None:
    known = [0.0, 0.25, 1.0]
    for losses in ([3.0, 2.0, 1.0], [3.0, 3.0, 3.0]):
        each = zip((1, 2, 3), known, losses, strict=True)
        picture = draw("a job", [epoch(n, train_accuracy=right, train_loss=loss) for n, right, loss in each])
        loss_dots, (bottom, quarter, top) = lines_of(picture).values()
        assert (bottom - quarter) / (bottom - top) == pytest.approx(0.25, abs=0.01)
        assert bottom - top == pytest.approx(plot_height(picture), rel=0.01)
        assert loss_dots[0] == pytest.approx(top, abs=0.01)  # the highest one
        assert len(set(loss_dots)) == len(set(losses))
        assert {"0", "100"} <= set(texts(picture))


def lines_of(picture: bytes) -> dict[str, list[float]]:
    """Return the heights of each line's dots, by the line's title.

    Heights are from above.
    """
    root = ElementTree.fromstring(picture)
    titles = [element.text or "" for element in root.iter(f"{SVG}text") if element.text and "training" in element.text]
    groups = [group for group in root.iter(f"{SVG}g") if "series serie-" in group.get("class", "")]
    dots = [[float(dot.get("cy", 0)) for dot in group.iter(f"{SVG}circle")] for group in groups]
    return dict(zip(titles, [found for found in dots if found], strict=True))


def plot_height(picture: bytes) -> float:
    """The distance of the outermost guides of the right axis."""
    root = ElementTree.fromstring(picture)
    (axis,) = (group for group in root.iter(f"{SVG}g") if group.get("class", "") == "axis y2")
    heights = [float(text.get("y", 0)) for text in axis.iter(f"{SVG}text")]
    return max(heights) - min(heights)
