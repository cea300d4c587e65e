"""The page's scripts without a service: they draw things where they belong."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests import ROOT
from tests.support.webfolder import served

pytestmark = pytest.mark.browser
STYLES = "".join(f'<link rel="stylesheet" href="/style/{name}.css">' for name in ("tokens", "forms"))
EMPTY = f"<!doctype html>{STYLES}<main></main>"
DRAW_CHART = """async (points) => {
    const { chart } = await import("/lib/chart.js");
    document.querySelector("main").append(
        chart("Loss", "epoch", [{ name: "train", points: points.map(([x, y]) => ({ x, y, dot: true })) }]),
    );
    const middle = (node) => {
        const { left, right, top, bottom } = node.getBoundingClientRect();
        return [(left + right) / 2, (top + bottom) / 2];
    };
    const drawn = document.querySelector("svg[role=img]");
    const all = (selector) => [...drawn.querySelectorAll(selector)];
    return {
        dots: all("circle").map(middle),
        line: middle(drawn.querySelector("polyline")),
        texts: all("text").map((node) => [node.textContent, node.getAttribute("text-anchor"), ...middle(node)]),
    };
}"""
DRAW_CONFUSION = """async (model) => {
    const { confusion } = await import("/models/confusion_matrix.js");
    const shown = confusion(model);
    const said = (cell) => (cell.querySelector(".cell")?.firstChild ?? cell).textContent;
    document.querySelector("main").replaceChildren(shown);
    return {
        says: shown.getAttribute("aria-label"),
        rows: [...shown.querySelectorAll("tr")].map((row) => [...row.cells].map(said)),
    };
}"""
# A service that keeps what comes, while the answer to the first piece is lost and the second piece breaks off half way.
SEND = """async (size) => {
    const { Upload } = await import("/lib/upload.js");
    const { Problem, Unreachable } = await import("/lib/api.js");
    const later = setTimeout;
    window.setTimeout = (act) => later(act, 0);
    const calls = [];
    let kept = new Blob([]), pieces = 0;
    const answer = (headers) => new Response(null, { headers });
    const patch = (offset, body) => {
        if (offset !== kept.size) throw new Problem(409, {});
        pieces += 1;
        kept = new Blob([kept, pieces === 2 ? body.slice(0, body.size / 2) : body]);
        if (pieces <= 2) throw new Unreachable(new TypeError("gone"));
        return answer({ "Upload-Offset": kept.size });
    };
    const api = {
        async fetch(path, { method, headers, body }) {
            calls.push([method, path, Number(headers["Upload-Offset"] ?? -1)]);
            if (calls.length > 12) throw new Error(`no end: ${JSON.stringify(calls)}`);
            if (method === "POST") return answer({ Location: "/uploads/upload_1" });
            if (method === "HEAD") return answer({ "Upload-Offset": kept.size });
            return patch(Number(headers["Upload-Offset"]), body);
        },
    };
    const sent = new Uint8Array(size).map((_, place) => place / 1000);
    const told = [];
    await new Upload(api, new Blob([sent]), "a.zip").send(new AbortController().signal, (bytes) => told.push(bytes));
    const came = new Uint8Array(await kept.arrayBuffer());
    return { calls, told, whole: came.length === size && came.every((byte, place) => byte === sent[place]) };
}"""

ESTIMATE = """async ([jobs, photos]) => {
    const { secondsOf } = await import("/home/estimates.js");
    const at = (s) => new Date(1e12 + 1000 * s).toISOString();
    const done = jobs.map(([preset, dataset, training, publishing]) => ({
        recipe: { preset, dataset },
        phases: [
            { phase: "training", started_at: at(0), ended_at: at(training) },
            { phase: "publishing", started_at: at(training), ended_at: at(training + publishing) },
        ],
    }));
    const datasets = [{ name: "pets", images: 100 }, { name: "digits", images: 5000 }];
    return photos.map((n) => secondsOf(done, datasets, "quick", n));
}"""
COLLECT = """async (batches) => {
    const { Collection } = await import("/home/collection.js");
    const given = new Collection();
    for (const paths of batches) given.add(paths.map((path) => [path, new File(["x"], path.split("/").pop())]));
    const packed = given.packed();
    return {
        name: given.name,
        classes: given.classes.map(({ label, photos }) => [label, photos.map(({ file, part }) => part + file.name)]),
        loose: given.loose.map(({ file }) => file.name),
        leftOut: given.leftOut,
        archive: given.archive?.name ?? "",
        missing: given.missing(),
        packed: packed && new TextDecoder("latin1").decode(await packed.blob.arrayBuffer()).match(/[\\w./-]+\\.jpg/g),
    };
}"""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with served(ROOT / "service" / "ui") as url:
        yield url


@pytest.fixture
def empty(chromium: Browser, site: str) -> Iterator[Page]:
    """An empty page of the scripts' origin, with their style alone."""
    tab = chromium.new_page()
    tab.route(f"{site}/empty", lambda route: route.fulfill(body=EMPTY, content_type="text/html"))
    tab.goto(f"{site}/empty")
    yield tab
    tab.close()


def test_a_chart_rises_with_its_values_and_goes_on_to_the_right_as_its_labels_say(empty: Page) -> None:
    values = [(1.0, 2.0), (2.0, 7.0), (3.0, 3.0), (5.0, 9.0)]
    drawn: dict[str, Any] = empty.evaluate(DRAW_CHART, values)
    across, down = ([dot[axis] for dot in drawn["dots"]] for axis in (0, 1))
    assert across == sorted(across)
    assert sorted(down, reverse=True) == [down[0], down[2], down[1], down[3]]  # 9 is the highest
    labels = [(float(text), anchor, *at) for text, anchor, *at in drawn["texts"] if text != "epoch"]
    below = [(value, x) for value, anchor, x, _ in labels if anchor == "middle"]
    beside = [(value, y) for value, anchor, _, y in labels if anchor == "end"]
    for ticks, places, axis in ((below, across, 0), (beside, down, 1)):
        (first, start), (last, end) = ticks[0], ticks[-1]
        per_unit = (end - start) / (last - first)
        wanted = [start + (value[axis] - first) * per_unit for value in values]
        assert places == pytest.approx(wanted, abs=3)  # pixels: a text's middle is not quite its line's
    assert all(one < other for (_, one), (_, other) in pairwise(below))
    assert all(one > other for (_, one), (_, other) in pairwise(beside))


def test_rows_of_the_confusion_matrix_are_the_true_classes(empty: Page) -> None:
    counts = [[90, 1, 2], [3, 80, 4], [5, 6, 0]]
    model = {"classes": ["cat", "dog", "emu"], "name": "pets", "version": 4, "confusion_matrix": counts}
    shown = empty.evaluate(DRAW_CONFUSION, model)
    assert shown["says"] == "Rows: the true class; columns: the answer of pets/4"
    assert shown["rows"] == [
        ["", "", "It said"],
        ["", "", "cat", "dog", "emu"],
        ["It is", "cat", "90", "1", "2"],
        ["dog", "3", "80", "4"],
        ["emu", "5", "6", "·"],
    ]
    many = [f"class {number}" for number in range(30)]
    wide = [[50 if truth == answer else 0 for answer in range(30)] for truth in range(30)]
    wide[3][7], wide[29][0] = 8, 9
    worst = empty.evaluate(DRAW_CONFUSION, {"classes": many, "name": "pets", "version": 4, "confusion_matrix": wide})
    assert worst["rows"] == [
        ["It is", "It said", "How often"],
        ["class 29", "class 0", "9 of 59"],
        ["class 3", "class 7", "8 of 58"],
    ]


def test_an_upload_asks_after_each_break_how_much_has_come(empty: Page) -> None:
    mib = 2**20
    seen = empty.evaluate(SEND, 20 * mib)
    path = "uploads/upload_1"
    assert seen["calls"] == [
        ["POST", "uploads", -1],
        ["HEAD", path, -1],
        ["PATCH", path, 0],
        ["HEAD", path, -1],
        ["PATCH", path, 8 * mib],
        ["HEAD", path, -1],
        ["PATCH", path, 12 * mib],
    ]
    assert seen["told"][-1] == 20 * mib
    assert seen["whole"]


def test_a_preset_takes_the_median_of_such_jobs_scaled_to_the_photos(empty: Page) -> None:
    jobs = [["quick", "pets/1", seconds, 10] for seconds in (8, 40, 20)]
    others = [["accurate", "pets", 900, 10], ["quick", "digits", 700, 10], ["quick", "gone", 1, 1]]
    assert empty.evaluate(ESTIMATE, [[*jobs, *others], [100, 200, 20]]) == [30, 50, 14]
    assert empty.evaluate(ESTIMATE, [jobs, [501, 19]]) == [None, None]  # nothing like it was ever done


def test_folders_are_classes_and_what_lies_beside_them_is_loose(empty: Page) -> None:
    fruit = ["My fruit/apples/1.jpg", "My fruit/pears/1.jpg", "My fruit/2.jpg", "My fruit/apples/notes.txt"]
    given = empty.evaluate(COLLECT, [[*fruit, "My fruit/.DS_Store", "__MACOSX/apples/._1.jpg"], ["apples/1.jpg"]])
    assert given["classes"] == [["apples", ["1.jpg", "1.jpg"]], ["pears", ["1.jpg"]]]
    assert (given["name"], given["loose"], given["leftOut"]) == ("my-fruit", ["2.jpg"], ["notes.txt"])
    assert given["packed"] == ["apples/1.jpg", "apples/2-1.jpg", "pears/1.jpg"]  # no two of one name
    parts = [f"set/{part}/{label}/1.jpg" for part in ("train", "test") for label in ("a", "b")]
    given = empty.evaluate(COLLECT, [parts])
    assert given["classes"] == [["a", ["train1.jpg", "test1.jpg"]], ["b", ["train1.jpg", "test1.jpg"]]]
    assert given["packed"] == ["train/a/1.jpg", "test/a/1.jpg", "train/b/1.jpg", "test/b/1.jpg"]
    assert empty.evaluate(COLLECT, [["a/1.jpg"]])["missing"].startswith("Only one class so far: a.")
    zipped = empty.evaluate(COLLECT, [["Pets.zip"]])
    assert (zipped["archive"], zipped["name"], zipped["missing"]) == ("Pets.zip", "pets", "")
