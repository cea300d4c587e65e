"""The report page and its Content-Security-Policy.

It allows styles and images inside the page, nothing else.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.reports.environment import environment

STYLE = (Path(__file__).parent / "style.css").read_text()
STYLE_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; img-src data:; style-src 'sha256-{STYLE_DIGEST}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def page(model: str, report: Mapping[str, Any]) -> str:
    """Render one HTML document that holds its own styles and images."""
    return environment().get_template("report.html").render(model=model, report=report, style=STYLE)
