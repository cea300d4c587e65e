"""service.reports: a model's evaluation report as one self-contained page."""

import base64
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from jinja2 import UndefinedError

from core.artifacts.manifest import to_json
from core.db.tables import Model
from service.reports.confusion_matrix import MAX_CLASSES
from service.reports.model_page import POLICY, STYLE, page
from tests.conftest import DIGIT_FILES

Published = Callable[..., Model]
SEVEN = base64.b64encode(DIGIT_FILES[7].read_bytes()).decode()
BINS = [
    {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
    {"low": 0.5, "high": 1.0, "count": 3, "confidence": 0.9, "accuracy": 0.66},
]


class Page(HTMLParser):
    """A page's text, and its elements with their attributes.

    It complains of an end tag that has no beginning.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("img", "meta"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts).replace("\N{NO-BREAK SPACE}", " ")

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def report_of(classes: tuple[str, ...] = ("ant", "bee"), **more: Any) -> dict[str, Any]:
    epoch = {"train_loss": 0.5, "train_accuracy": 0.75, "validation_loss": None, "validation_accuracy": None}
    scores = {"images": 2, "precision": 0.5, "recall": None, "f1": None}
    mistake = {"truth": {"label": classes[0]}, "answer": {"label": classes[1], "probability": 0.875}, "png": SEVEN}
    return {
        "id": "model_1",
        "job_id": "job_1",
        "network": "resnet18",
        "dataset": "ants",
        "dataset_digest": "d1",
        "classes": list(classes),
        "history": [{"epoch": 1, **epoch}, {"epoch": 2, **epoch}],
        "best_epoch": 2,
        "test": {"correct": 2, "images": 3, "low": 0.2077, "high": 0.9385},
        "timing": {"train_s": 75.2},
        "images": {"train": 10, "validation": 0, "test": 3},
        "device": {"type": "cpu", "name": "a processor"},
        "versions": {"torch": "2"},
        "confusion_matrix": [[1, 1], [0, 1]],
        "per_class": [{"label": name, **scores} for name in classes],
        "macro": {"precision": 0.5, "recall": 0.5, "f1": None},
        "calibration": {
            "temperature": 1.5, "fitted_on": "nothing", "measured_on": "3 test images",
            "ece_before": 0.2, "ece_after": 0.1,
            "bins_before": BINS, "bins_after": BINS,
        },
        "mistakes": [mistake],
        "preparation": {"height": 28},
        "recipe": {"optimizer": "sgd", "epochs": 2, "train_samples": None},
        "serving": {
            "file": "int8.onnx", "precision": "int8", "threads": 2, "reason": "int8 is faster",
            "latency_ms": {"fp32": {"1": 20.0, "8": 150.0}, "int8": {"1": 9.5}},
        },
        "parity": {"images": 64, "largest_difference": 2e-6},
    } | more  # fmt: skip


@pytest.fixture
def reported(published: Published) -> Callable[..., Model]:
    """A model whose training wrote that report."""
    return lambda **more: published(more={"report.json": to_json(report_of(**more))})


def test_it_has_every_part() -> None:
    shown = Page(page("ants/3", report_of()))
    parts = ["Learning curves", "Confusion matrix", "Classes", "Calibration", "Worst mistakes", "What serves", "Recipe"]
    assert [text for text in shown.texts if text in parts] == parts
    assert "ants/3: resnet18 on ants" in shown.texts
    for told in (
        "66.67 %: 2 of 3 right (95 % interval 20.8 to 93.8 %)",
        "1 min 15 s, 2 epochs",
        "Temperature 1.500",
        "ant → bee",
        "87.5 %",
    ):
        assert told in shown.text
    for told in ("int8.onnx answers, in int8: int8 is faster", "9.50 ms", "150 ms", "2 threads of a processor"):
        assert told in shown.text


def test_calibration_is_not_claimed_from_a_handful_of_images() -> None:
    report = report_of()
    none = report["calibration"] | {"measured_on": "nothing: 3 test images", "ece_before": None, "ece_after": None}
    shown = Page(page("ants/3", report | {"calibration": none}))
    assert "The calibration error was measured on nothing: 3 test images" in shown.text
    assert "Reliability diagram" not in str(shown.all("img"))


def test_nothing_of_it_lies_elsewhere_and_nothing_runs() -> None:
    shown = Page(page("ants/1", report_of()))
    assert {name for _, attributes in shown.elements for name in attributes} & {"href", "style", "onload"} == set()
    assert all(str(image["src"]).startswith("data:image/") for image in shown.all("img"))
    assert shown.all("script") == []
    assert "url(" not in STYLE


def test_class_names_with_markup_are_text() -> None:
    evil = '<script>alert(1)</script>"onerror="x'
    text = page("ants/1", report_of((evil, "bee & wasp")))
    shown = Page(text)
    assert "<script" not in text
    assert shown.texts.count(evil) == 3  # a row and a column of the confusion matrix, and a row of the classes
    assert {"src", "alt", "class"} >= {name for image in shown.all("img") for name in image}
    assert f"Image of {evil}, taken for bee & wasp" in [image["alt"] for image in shown.all("img")]


def replaced(value: Any, text: str) -> Any:
    """Replace every string of a report but its kinds and images."""
    if isinstance(value, dict):
        return {
            name: one if name in ("png", "type", "latency_ms") else replaced(one, text) for name, one in value.items()
        }
    if isinstance(value, list):
        return [replaced(one, text) for one in value]
    return text if isinstance(value, str) else value


def test_every_string_of_a_report_is_escaped() -> None:
    evil = """</style></title><script>alert(1)</script>'"onerror="x"""
    text = page("ants/1", replaced(report_of(), evil) | {"preparation": {"height": 28}, "versions": {evil: evil}})
    shown = Page(text)
    assert "<script" not in text
    assert text.count("</style>") == 1
    names = {"alt", "aria-label", "charset", "class", "content", "lang", "name", "role", "scope", "src", "tabindex"}
    assert {name for _, attributes in shown.elements for name in attributes} == names
    sentences = ("1: {} on {}", "{} {}", "CPU {} answers, in {}: {}.", "fitted on {}.", "threads of {}", "{} → {}")
    assert [words for words in sentences if words.replace("{}", evil) not in shown.text] == []


def test_pictures_say_in_words_what_they_show() -> None:
    alts = [str(image["alt"]) for image in Page(page("ants/1", report_of())).all("img")]
    assert any(alt.startswith("Accuracy by epoch; at the end 75.00") for alt in alts)
    assert any(alt.startswith("Reliability diagram") for alt in alts)
    assert all(alts)


def test_a_single_epoch_is_told_in_figures() -> None:
    report = report_of()
    shown = Page(page("ants/1", report | {"history": report["history"][:1]}))
    assert len([image for image in shown.all("img") if "svg" in str(image["src"])]) == 1
    assert "Loss and accuracy by epoch" in shown.texts


def test_a_perfect_model_has_no_mistakes_to_show() -> None:
    assert "None on the test set." in Page(page("ants/1", report_of(mistakes=[]))).texts


def test_a_report_without_one_of_its_values_is_an_error() -> None:
    report = report_of()
    del report["serving"]["precision"]
    with pytest.raises(UndefinedError, match="precision"):
        page("ants/1", report)


def confusion(counts: list[list[int]], classes: list[str]) -> str:
    """The markup of that section, without the white space between its elements."""
    text = page("ants/1", report_of(tuple(classes), confusion_matrix=counts))
    return re.sub(r">\s+<", "><", text.partition("<h2>Confusion matrix</h2>")[2].partition("</section>")[0])


def test_of_very_many_classes_the_worst_pairs_are_shown() -> None:
    many = MAX_CLASSES + 1
    counts = [[5 if answer == truth else 0 for answer in range(many)] for truth in range(many)]
    names = [f"class {number}" for number in range(many)]
    assert "No mistakes" in confusion(counts, names)
    counts[3][4], counts[8][9] = 1, 2
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th><td>(.*?)</td><td>(.*?)</td>", confusion(counts, names))
    assert rows == [("class 8", "class 9", "2"), ("class 3", "class 4", "1")]


def test_the_shade_of_a_cell_grows_with_its_share_of_the_row() -> None:
    shades = re.findall(
        r"cell shade-(\d) (right|wrong)", confusion([[81, 0, 19], [0, 1, 99], [0, 0, 0]], ["a", "b", "c"])
    )
    assert [int(shade) for shade, _ in shades] == [9, 0, 4, 0, 1, 9, 0, 0, 0]
    assert [kind for _, kind in shades][::4] == ["right"] * 3


async def test_it_is_served_under_a_policy_that_lets_it_be_shown_and_no_more(
    http: httpx.AsyncClient, reported: Callable[..., Model]
) -> None:
    reported()
    answer = await http.get("/models/digits@latest/report.html")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"] == POLICY
    assert "script-src" not in POLICY
    assert POLICY.startswith("default-src 'none'")
    assert "digits/1: resnet18 on ants" in Page(answer.text).texts


async def test_a_model_links_to_its_report(
    http: httpx.AsyncClient, reported: Callable[..., Model], published: Published
) -> None:
    with_report, without = reported(), published()
    links = (await http.get(f"/models/{with_report.id}")).json()["links"]
    assert {(await http.get(path)).status_code for name, path in links.items() if name != "job"} == {200}
    assert links["report_page"] == f"/models/{with_report.id}/report.html"
    assert "report" not in (await http.get(f"/models/{without.id}")).json()["links"]
    assert (await http.get(f"/models/{without.id}/report.html")).status_code == 404
