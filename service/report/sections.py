"""The parts of the page, each from the report as worker.model_report wrote it."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.curves import draw
from service.report.calibration import bins_table, diagram
from service.report.confusion import confusion
from service.report.figures import UNKNOWN, count, duration, milliseconds, number, percent
from service.report.html import Html, el, facts, folded, join, table

Report = Mapping[str, Any]
PICTURE = {"width": 480, "height": 340}  # small enough to be read on a phone
LOSS = (("training", "train_loss", False, "1, 0"), ("validation, dashed", "validation_loss", False, "6, 4"))
ACCURACY = (
    ("training", "train_accuracy", False, "1, 0"),
    ("validation, dashed", "validation_accuracy", False, "6, 4"),
)
SHOWN_PX = 84  # the side of a mistake's image on the page
HISTORY = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def sections(report: Report) -> Iterator[Html]:
    """What an older report does not tell is left out."""
    yield el("section", el("h2", "Learning curves"), *_curves(report))
    yield el("section", el("h2", "Confusion matrix"), confusion(report["confusion"], report["classes"]))
    yield el("section", el("h2", "Classes"), _classes(report))
    yield el("section", el("h2", "Calibration"), *_calibration(report["calibration"]))
    yield el("section", el("h2", "Worst mistakes"), *_mistakes(report))
    if "serving" in report:
        yield el("section", el("h2", "What serves"), *_serving(report))
    yield el("section", el("h2", "Recipe"), _recipe(report["recipe"]))


def summary(report: Report) -> Html:
    timing, metrics, images, device = report["timing"], report["metrics"], report["images"], report["device"]
    epochs = len(report["history"])
    return facts(
        [
            ("test accuracy", f"{percent(metrics['test_accuracy'])} of {images['test']:,} images"),
            ("data set", report["dataset"]),
            ("network", report["network"]),
            ("trained on", f"{images['train']:,} images"),
            ("trained for", f"{duration(timing['train_s'])}, {count(epochs, 'epoch')}"),
            ("best epoch", f"{report['best_epoch']}, on {images['validation']:,} validation images"),
            ("device", device.get("name") or device["type"]),
            ("made with", ", ".join(f"{name} {version}" for name, version in report["versions"].items())),
            ("model", report["id"]),
            ("job", report["job_id"]),
            ("digest of the data", report["dataset_digest"]),
        ]
    )


def _curves(report: Report) -> Iterator[Html]:
    """A single epoch makes no curve: its figures say more."""
    history = report["history"]
    if len(history) == 1:
        yield _epochs(history)
        return
    last = history[-1]
    losses = f"{number(last['train_loss'])} in training, {number(last['validation_loss'])} in validation"
    shares = f"{percent(last['train_accuracy'])} in training, {percent(last['validation_accuracy'])} in validation"
    yield el(
        "div",
        _picture(draw("Loss", history, LOSS, **PICTURE), f"Loss by epoch; at the end {losses}"),
        _picture(draw("Accuracy, %", history, ACCURACY, **PICTURE), f"Accuracy by epoch; at the end {shares}"),
        class_="pictures",
    )
    yield folded("As figures", _epochs(history))


def _epochs(history: Sequence[Mapping[str, Any]]) -> Html:
    rows = [
        (str(epoch["epoch"]), *(percent(epoch[key]) if "accuracy" in key else number(epoch[key]) for key in HISTORY))
        for epoch in history
    ]
    head = ["Epoch", *(key.replace("_", " ").replace("train ", "training ").capitalize() for key in HISTORY)]
    return table("Loss and accuracy by epoch", head, rows)


def _classes(report: Report) -> Html:
    scores = ("precision", "recall", "f1")
    rows = [
        (one["label"], f"{one['images']:,}", *(percent(one[name]) for name in scores)) for one in report["per_class"]
    ]
    mean = (Html("<em>mean</em>"), "", *(percent(report["macro"][name]) for name in scores))
    head = ["Class", "Test images", "Precision", "Recall", "F1"]
    return table("Precision and recall of each class", head, [*rows, mean])


def _calibration(found: Mapping[str, Any]) -> Iterator[Html]:
    before, after = percent(found["ece_before"]), percent(found["ece_after"])
    yield el(
        "p",
        f"Temperature {found['temperature']:.3f}, fitted on {found['fitted_on']}. On the test set, probability and "
        f"share of right answers lie {after} apart in the mean; without the temperature {before}.",
    )
    yield _picture(diagram(found, **PICTURE), f"Reliability diagram; expected calibration error {before}, then {after}")
    yield folded("As figures", bins_table(found["bins_after"]))


def _mistakes(report: Report) -> Iterator[Html]:
    if not report["mistakes"]:
        yield el("p", "None on the test set.")
        return
    yield el("p", "The wrong answers of the test set that were surest: the truth, the answer, and how sure it was.")
    small = report["preparation"]["height"] < SHOWN_PX
    yield el("ul", *map(_mistake, report["mistakes"]), class_="mistakes pixels" if small else "mistakes")


def _mistake(one: Mapping[str, Any]) -> Html:
    truth, answer = one["truth"]["label"], one["answer"]["label"]
    image = el("img", src=f"data:image/png;base64,{one['png']}", alt=f"Image of {truth}, taken for {answer}")
    said = el("span", f"{truth} → {answer}")
    return el("li", image, said, el("span", percent(one["answer"]["probability"], 1), class_="hint"))


def _serving(report: Report) -> Iterator[Html]:
    serving = report["serving"]
    yield el("p", f"On a CPU {serving['file']} answers, in {serving['precision']}: {serving['reason']}.")
    batches = sorted({batch for times in serving["latency_ms"].values() for batch in times}, key=int)
    rows = [
        (graph, *(milliseconds(times.get(batch)) for batch in batches))
        for graph, times in serving["latency_ms"].items()
    ]
    head = ["Graph", *(count(int(batch), "image") for batch in batches)]
    yield table(f"Time to answer, on {count(serving['threads'], 'thread')} of {_processor(report)}", head, rows)
    if parity := report.get("parity"):
        said = f"{parity['images']} test images, the graph's probabilities differ from the network's by at most"
        yield el("p", f"On {said} {parity['largest_difference']:.1g}.")


def _processor(report: Report) -> str:
    device = report["device"]
    return str(device["name"]) if device["type"] == "cpu" and device.get("name") else "the training machine"


def _recipe(recipe: Mapping[str, Any]) -> Html:
    return facts(((name.replace("_", " "), _value(value)) for name, value in recipe.items()), "short")


def _value(value: Any) -> str:
    if value is None or value == {}:
        return UNKNOWN
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _picture(svg: bytes, alt: str) -> Html:
    """As an image: what is in it can neither run nor reach out, and takes none of the page's styles."""
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    return join([el("img", src=source, alt=alt, class_="picture")])
