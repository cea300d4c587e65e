"""docs/api.md's table of scopes is what the routes need.

``python -m tests.service.security.test_scopes`` writes it.
"""

import re
from collections import defaultdict
from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.routing import APIRoute

from core.settings import Settings
from service.app import create_app
from service.security.api_keys import RequireScope
from service.security.authentication import is_open
from tests import ROOT

DOCUMENT = ROOT / "docs" / "api.md"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")  # HEAD needs what GET does
MARKED = re.compile(r"(?<=<!-- scopes -->\n).*?(?=<!-- end of scopes -->)", re.DOTALL)


def needed(app: FastAPI) -> Iterator[tuple[str, str, str]]:
    """Yield each path and method with its scope."""
    for route in app.routes:
        if isinstance(route, APIRoute) and not is_open(route.path):
            (rule,) = (one.dependency for one in route.dependencies if isinstance(one.dependency, RequireScope))
            for method in route.methods or ():
                yield route.path_format, "GET" if method == "HEAD" else method, rule.needed_for(method)


def table(app: FastAPI) -> str:
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    for path, method, scope in needed(app):
        rows[path][method] = scope
    lines = ["| path | " + " | ".join(METHODS) + " |", "|---" * (len(METHODS) + 1) + "|"]
    for path in sorted(rows):
        lines.append(f"| `{path}` | " + " | ".join(rows[path].get(method, "") for method in METHODS) + " |")
    return "\n".join(lines) + "\n"


def test_the_document_says_which_scope_each_route_needs(settings: Settings) -> None:
    (written,) = MARKED.findall(DOCUMENT.read_text())
    assert written == table(create_app(settings)), "run: python -m tests.service.security.test_scopes"


if __name__ == "__main__":
    made = table(create_app(Settings()))
    DOCUMENT.write_text(MARKED.sub(lambda _: made, DOCUMENT.read_text()))
