"""Fixtures that upload a data set and load it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from core.errors import UnusableDataset
from core.settings import Settings
from service.datasets.extraction import Sent
from service.datasets.importer import Built, build
from tests.support.datafiles import zipped

Send = Callable[..., Built]


@pytest.fixture
def folder(settings: Settings) -> Path:
    """The folder of the data set ``pets``, not made yet.

    The trainer will look for it there.
    """
    settings.resolved_datasets_dir.mkdir(parents=True)
    return settings.resolved_datasets_dir / "pets"


@pytest.fixture
def send(settings: Settings, folder: Path, tmp_path: Path) -> Send:
    """Build a data set from these bytes, or a zip of files."""

    def make(sent: bytes | Mapping[str, bytes], **limits: int) -> Built:
        body = tmp_path / "body"
        body.write_bytes(sent if isinstance(sent, bytes) else zipped(sent))
        return build([Sent("", body)], folder, settings.model_copy(update=limits))

    return make


def problems(built: Built) -> dict[str, str]:
    return {problem.file: problem.code for problem in built.problems}


def refused(send: Send, sent: bytes | Mapping[str, bytes], **limits: int) -> dict[str, str]:
    """The codes by file, of a data set that cannot be used."""
    with pytest.raises(UnusableDataset) as refusal:
        send(sent, **limits)
    return {problem["pointer"]: problem["code"] for problem in refusal.value.problems}
