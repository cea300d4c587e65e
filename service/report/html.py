"""Markup from plain calls. Text only ever becomes text: what is not ``Html`` is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

EMPTY = frozenset({"img", "meta"})  # elements without content and without an end tag


class Html(str):
    """Markup, to be taken as it is."""

    __slots__ = ()


def el(tag: str, *children: str, **attributes: str | None) -> Html:
    """An element. ``class_`` is written so since ``class`` is Python's; ``aria_label`` becomes ``aria-label``."""
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    opening = "".join([f"<{tag}", *(f' {name}="{escape(value)}"' for name, value in named.items()), ">"])
    return Html(opening) if tag in EMPTY else Html(f"{opening}{join(children)}</{tag}>")


def join(children: Iterable[str]) -> Html:
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def facts(pairs: Iterable[tuple[str, str | None]], class_: str | None = None) -> Html:
    """A list of terms; what is not known is left out."""
    known = [el("div", el("dt", name), el("dd", value)) for name, value in pairs if value]
    return el("dl", *known, class_=class_)


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], class_: str | None = None) -> Html:
    """In a box that scrolls sideways by itself, by the keyboard too. The first cell of a row names it."""
    names = el("tr", *(el("th", text, scope="col") if text else el("td") for text in head))
    lines = [el("tr", el("th", row[0], scope="row"), *(el("td", cell) for cell in row[1:])) for row in rows]
    shown = el("table", el("caption", caption), el("thead", names), el("tbody", *lines))
    classes = " ".join(["scroll", *filter(None, [class_])])
    return el("div", shown, class_=classes, role="region", aria_label=caption, tabindex="0")


def folded(title: str, content: Html) -> Html:
    return el("details", el("summary", title), content)
