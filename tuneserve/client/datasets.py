"""Calls for data sets and their images."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from tuneserve.client.connection import Connection
from tuneserve.folder_zip import sendable_name
from tuneserve.types import DatasetCard, DatasetImage, DatasetSummary, DatasetVersion

ARCHIVE = "application/octet-stream"  # the service detects the format
IMPORT_TIMEOUT_S = 3600.0


class DatasetCalls(Connection):
    """Add, list and change data sets."""

    def add_dataset(self, name: str, source: Path | str, replace: bool = False, dry_run: bool = False) -> DatasetCard:
        """Import a data set from an archive or a finished upload.

        ``source``: a zip or a tar, or the id of the upload. The file is streamed, and the service checks every image
        before it responds. ``dry_run``: check only.
        """
        params = {"name": name, "replace": replace, "dry_run": dry_run}
        if isinstance(source, str):
            params, once = params | {"upload": source}, {"Idempotency-Key": source}
            return self._call(DatasetCard, "POST", "/datasets", params=params, headers=once, timeout=IMPORT_TIMEOUT_S)
        with source.open("rb") as content:
            options = {"params": params, "headers": {"Content-Type": ARCHIVE}}
            return self._call(DatasetCard, "POST", "/datasets", content=content, timeout=IMPORT_TIMEOUT_S, **options)

    def datasets(self) -> list[DatasetSummary]:
        return self._list(DatasetSummary, "/datasets")

    def dataset(self, name: str) -> DatasetCard | DatasetSummary:
        """Return an uploaded data set's card, or another one's summary.

        A summary has a ``kind``.
        """
        found: DatasetCard | DatasetSummary = self._accepted("GET", f"/datasets/{quote(name)}").json()
        return found

    def dataset_versions(self, name: str, limit: int = 20) -> list[DatasetVersion]:
        """List the versions of an uploaded data set, newest first."""
        return self._pages(DatasetVersion, f"/datasets/{quote(name, safe='')}/versions", limit)

    def delete_dataset(self, reference: str, force: bool = False) -> None:
        """Delete a data set, or the version that `pets/2` names.

        ``force``: though models were trained on it.
        """
        self._accepted("DELETE", f"/datasets/{quote(reference)}", params={"force": force})

    def dataset_images(self, reference: str, label: str | None = None, limit: int = 20) -> list[DatasetImage]:
        """List images of a version, of all classes or of one."""
        return self._pages(DatasetImage, f"/datasets/{quote(reference)}/images", limit, **{"class": label})

    def add_images(self, name: str, files: Sequence[Path], label: str, part: str | None = None) -> DatasetCard:
        """Add images of one class; return the new version."""
        params = {"class": label} | ({"part": part} if part else {})
        parts = [("file", (sendable_name(file.name), file.read_bytes(), ARCHIVE)) for file in files]
        path = f"/datasets/{quote(name, safe='')}/images"
        return self._call(DatasetCard, "POST", path, params=params, files=parts, timeout=IMPORT_TIMEOUT_S)

    def move_images(self, name: str, ids: Sequence[int], label: str, part: str | None = None) -> DatasetCard:
        """Move images to another class; return the new version."""
        wanted = {"images": list(ids), "class": label, "part": part}
        return self._call(DatasetCard, "PATCH", f"/datasets/{quote(name, safe='')}/images", json=wanted)

    def remove_images(self, name: str, ids: Sequence[int]) -> DatasetCard:
        """Remove images; return the new version. Older versions keep them."""
        return self._call(DatasetCard, "DELETE", f"/datasets/{quote(name, safe='')}/images", params={"id": list(ids)})
