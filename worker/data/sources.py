"""Sources of a built-in data set's files.

Its folder, else the configured mirror, else the original host.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.error import URLError

from core.errors import DatasetUnavailable
from core.settings import Settings
from worker.data.download import fetch


def find(folder: Path, names: Iterable[str]) -> Path | None:
    """Return the first of these files that exists in the folder."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def download(name: str, urls: Sequence[str], md5: str, expected: str, settings: Settings) -> Path:
    """Download a file into the data directory, once.

    It is named as in its URL. TUNESERVE_DATASETS_DIR is only read. DatasetUnavailable if that fails. ``expected``
    names, for the error's hint, the files that the data set's folder could hold instead.
    """
    folder = settings.resolved_datasets_dir / name
    file = urls[0].rsplit("/", 1)[1]
    target = settings.downloaded_datasets_dir / name / file
    if target.is_file():
        return target
    if settings.datasets_mirror:
        urls = [f"{settings.datasets_mirror.rstrip('/')}/{name}/{file}"]
    try:
        fetch(urls, target, "md5", md5, settings)
    except URLError as error:
        raise DatasetUnavailable(
            f"{name} is not in {folder} and could not be downloaded: {error.reason}.",
            hint=f"Put {expected} into {folder}.",
        ) from error
    return target
