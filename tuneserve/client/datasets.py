"""Calls for data sets and their images."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from tuneserve.client.errors import ServiceError
from tuneserve.client.uploads import Report, UploadCalls
from tuneserve.folder_zip import Warn, packed, sendable_name
from tuneserve.types import Checkup, DatasetCard, DatasetImage, DatasetSummary, DatasetVersion

SINGLE_REQUEST_BYTES = 16 * 2**20  # larger files are sent in pieces
ARCHIVE = "application/octet-stream"  # the service detects the format
IMPORT_TIMEOUT_S = 3600.0


def _ignore(*_: object) -> None:
    pass


class DatasetCalls(UploadCalls):
    """Add, list and change data sets."""

    def upload_dataset(
        self,
        name: str,
        source: str | os.PathLike[str],
        *,
        replace: bool = False,
        dry_run: bool = False,
        group_pattern: str = "",
        report: Report = _ignore,
        warn: Warn = _ignore,
    ) -> DatasetCard:
        """Make a folder or an archive a data set, or only check it.

        ``group_pattern``: how file names tell groups, such as ``{group}_frame_*``; images of one stay in one part.
        A large file is sent in pieces; an interrupted upload resumes. ``report`` is called with the bytes sent and the
        bytes in all, ``warn`` with each file of the folder that is left out, and why.
        """
        with packed(Path(source), warn) as file:
            if file.stat().st_size <= SINGLE_REQUEST_BYTES:
                return self.add_dataset(name, file, replace, dry_run, group_pattern)
            upload_id = self.send_file(file, report)
            try:
                card = self.add_dataset(name, upload_id, replace, dry_run, group_pattern)
            except ServiceError as error:
                if error.status:
                    self.end_upload(upload_id)
                raise
            if dry_run:
                self.end_upload(upload_id)
            return card

    def add_dataset(
        self, name: str, source: Path | str, replace: bool = False, dry_run: bool = False, group_pattern: str = ""
    ) -> DatasetCard:
        """Import a data set from an archive or a finished upload.

        ``source``: a zip or a tar, or the id of the upload. The file is streamed, and the service checks every image
        before it responds. ``dry_run``: check only.
        """
        params: dict[str, str | bool] = {"name": name, "replace": replace, "dry_run": dry_run}
        if group_pattern:
            params["group_pattern"] = group_pattern
        if isinstance(source, str):
            params, once = params | {"upload": source}, {"Idempotency-Key": source}
            return self._call(DatasetCard, "POST", "/datasets", params=params, headers=once, timeout=IMPORT_TIMEOUT_S)
        with source.open("rb") as content:
            options = {"params": params, "headers": {"Content-Type": ARCHIVE}}
            return self._create(DatasetCard, "/datasets", content=content, timeout=IMPORT_TIMEOUT_S, **options)

    def datasets(self) -> list[DatasetSummary]:
        return self._list(DatasetSummary, "/datasets")

    def dataset(self, name: str) -> DatasetCard | DatasetSummary:
        """Return an uploaded data set's card, or another one's summary.

        A summary has a ``kind``.
        """
        found = self._json("GET", f"/datasets/{quote(name)}")
        return DatasetSummary(found) if "kind" in found else DatasetCard(found)

    def dataset_versions(self, name: str, limit: int = 20) -> list[DatasetVersion]:
        """List the versions of an uploaded data set, newest first."""
        return self._pages(DatasetVersion, f"/datasets/{quote(name, safe='')}/versions", limit)

    def checkup(self, name: str) -> Checkup:
        """Return what a worker has found in a data set's newest version.

        ``state`` is waiting, running, done or failed.
        """
        return self._call(Checkup, "GET", f"/datasets/{quote(name, safe='')}/checkup")

    def request_checkup(self, name: str) -> Checkup:
        """Request a data set's check-up, again if there was one."""
        return self._call(Checkup, "POST", f"/datasets/{quote(name, safe='')}/checkup")

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
        return self._create(DatasetCard, path, params=params, files=parts, timeout=IMPORT_TIMEOUT_S)

    def move_images(self, name: str, ids: Sequence[int], label: str, part: str | None = None) -> DatasetCard:
        """Move images to another class; return the new version."""
        wanted = {"images": list(ids), "class": label, "part": part}
        return self._call(DatasetCard, "PATCH", f"/datasets/{quote(name, safe='')}/images", json=wanted)

    def remove_images(self, name: str, ids: Sequence[int]) -> DatasetCard:
        """Remove images; return the new version. Older versions keep them."""
        return self._call(DatasetCard, "DELETE", f"/datasets/{quote(name, safe='')}/images", params={"id": list(ids)})
