"""Build data sets in the test's own process.

A process for each would only take time.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from service.datasets.builder import Builder
from service.datasets.extraction import Sent
from service.datasets.importer import Addition, Built, build, build_addition


async def build_here(
    builder: Builder, sent: Sequence[Sent], folder: Path, addition: Addition | None = None, group_pattern: str = ""
) -> Built:
    """Stand in for ``Builder.build``."""
    settings = builder._settings
    if addition is None:
        return await asyncio.to_thread(build, sent, folder, settings, group_pattern)
    return await asyncio.to_thread(build_addition, sent, folder, settings, addition)
