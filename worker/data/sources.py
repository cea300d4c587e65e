"""Where the files of a built-in data set come from: its folder, else the mirror in the settings, else their makers."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.error import URLError

from core.errors import DatasetUnavailable
from core.settings import Settings
from worker.data.download import fetch


def find(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of these files that is in the folder."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def download(name: str, urls: Sequence[str], md5: str, wanted: str, settings: Settings) -> Path:
    """The file, fetched into the data set's folder under the name that its addresses end with.

    ``wanted`` says in DatasetUnavailable's hint what could lie there instead.
    """
    folder = settings.resolved_datasets_dir / name
    file = urls[0].rsplit("/", 1)[1]
    if settings.datasets_mirror:
        urls = [f"{settings.datasets_mirror.rstrip('/')}/{name}/{file}"]
    try:
        fetch(urls, folder / file, "md5", md5, settings.download_timeout_s)
    except URLError as error:
        raise DatasetUnavailable(
            f"{name} is not in {folder} and could not be downloaded: {error.reason}.",
            hint=f"Put {wanted} into {folder}.",
        ) from error
    return folder / file
