"""The whole page, and what a browser may do with it: show it, and nothing else."""

import base64
import hashlib
from pathlib import Path

from service.report.html import Html, el
from service.report.sections import Report, sections, summary

STYLE = (Path(__file__).parent / "style.css").read_text()
STYLE_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; img-src data:; style-src 'sha256-{STYLE_DIGEST}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def page(version: int, report: Report) -> str:
    """A document that can be kept and sent on: its pictures and styles are in it."""
    title = f"Version {version}: {report['network']} on {report['dataset']}"
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("title", title),
        el("style", Html(STYLE)),
    )
    body = el("body", el("main", el("h1", title), summary(report), *sections(report)))
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"
