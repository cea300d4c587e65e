"""HTTP client for the service, one method per call."""

import os
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx

from tuneserve.folder_zip import sendable_name
from tuneserve.types import (
    AcceptedJob,
    Alias,
    Batch,
    DatasetCard,
    DatasetImage,
    DatasetSummary,
    DatasetVersion,
    DefaultName,
    Job,
    Key,
    MadeKey,
    Model,
    Prediction,
    Predictions,
    Upload,
)

DEFAULT_URL = "http://127.0.0.1:8000"
ENDED = ("succeeded", "failed", "cancelled")
POLL_S = 0.5
MAX_WAIT_S = 60.0  # longest wait that the service accepts
ARCHIVE = "application/octet-stream"  # the service detects the format
TUS = {"Tus-Resumable": "1.0.0"}  # https://tus.io/protocols/resumable-upload
PIECE = {"Content-Type": "application/offset+octet-stream"}
IMPORT_TIMEOUT_S = 3600.0
MAX_PAGE = 100  # rows of a list that the service gives out at a time
MAX_IMAGES, MAX_IMAGES_BYTES = 100, 16 * 2**20  # in a request; the service takes 256, and 32 MiB
UNREADABLE_IMAGE = (400, 413, 415, 422)  # statuses of a response to an unreadable image

Image = str | os.PathLike[str] | bytes  # a file's path, or its content
Shape = TypeVar("Shape")
Ends = TypeVar("Ends", Job, Batch)


class ServiceError(Exception):
    """The service rejected a request or is not reachable.

    The message is for people.
    """

    status = 0  # HTTP status; 0 without a response
    errors: tuple[dict[str, Any], ...] = ()  # the single errors, if the service lists them


class Client:
    """A client for one service.

    ``url`` defaults to $TUNESERVE_URL, else to port 8000 of this machine; ``key`` to $TUNESERVE_API_KEY.
    """

    def __init__(self, url: str | None = None, key: str | None = None) -> None:
        self.url = (url or os.environ.get("TUNESERVE_URL") or DEFAULT_URL).rstrip("/")
        key = key or os.environ.get("TUNESERVE_API_KEY")
        _check(self.url, key)
        self._http = httpx.Client(
            base_url=self.url, timeout=90, headers={"Authorization": f"Bearer {key}"} if key else {}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def train(self, recipe: Mapping[str, Any]) -> AcceptedJob:
        """Start a training job; ``{}`` is a valid recipe, see POST /jobs."""
        return self._call(AcceptedJob, "POST", "/jobs", json=recipe)

    def job(self, job_id: str, wait_s: float = 0) -> Job:
        return self._call(Job, "GET", f"/jobs/{job_id}", params={"wait": wait_s})

    def jobs(self, limit: int = 20) -> list[Job]:
        """Return the newest jobs, in as many requests as so many take."""
        return self._pages(Job, "/jobs", limit)

    def ask_job(self, job_id: str, verb: str, params: dict[str, Any] | None = None) -> Job:
        """Cancel, pause, resume or retry a job, as ``verb`` says."""
        return self._call(Job, "POST", f"/jobs/{job_id}/{verb}", params=params or {})

    def logs(self, job_id: str) -> str:
        """Return the last megabyte of the newest attempt's log.

        "" if there is none yet.
        """
        answer = self._request("GET", f"/jobs/{job_id}/logs")
        if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
            raise ServiceError(_detail(answer))
        return answer.text if answer.is_success else ""

    def log_behind(self, job_id: str, attempt: int, after: int) -> bytes:
        """Return an attempt's log after ``after`` bytes, up to a megabyte.

        b"" if there is no more yet.
        """
        answer = self._request("GET", f"/jobs/{job_id}/logs", params={"attempt": attempt, "after": after})
        if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
            raise ServiceError(_detail(answer))
        return answer.content if answer.is_success else b""

    def set_alias(self, name: str, alias: str, version: int) -> Alias:
        """Point an alias of a name at a version.

        With `serving` this promotes the version or rolls back to it.
        """
        path = f"/models/{quote(name, safe='')}/aliases/{quote(alias, safe='')}"
        return self._call(Alias, "PUT", path, json={"version": version})

    def default_name(self) -> DefaultName:
        """Return the name that answers where none is given."""
        return self._call(DefaultName, "GET", "/models/default")

    def pin_default(self, name: str) -> DefaultName:
        """Make a name the default one, whatever is published under others."""
        return self._call(DefaultName, "PUT", "/models/default", json={"name": name})

    def unpin_default(self) -> None:
        """Let the default name follow publications."""
        self._accepted("DELETE", "/models/default")

    def model(self, reference: str) -> Model:
        """Return a model by its id, or as `pets`, `pets/3` or `pets@best`."""
        return self._call(Model, "GET", f"/models/{quote(reference)}")

    def models(self, limit: int = 20, name: str | None = None) -> list[Model]:
        """Return the newest models, of a name or of all.

        Sends as many requests as that number of models takes.
        """
        return self._pages(Model, "/models", limit, name=name)

    def ready(self) -> dict[str, Any]:
        """Return the readiness checks, whether or not they pass."""
        body: dict[str, Any] = self._request("GET", "/readyz").json()
        return body

    def predict(self, *images: Image, top_k: int = 3, model: str | None = None) -> Predictions:
        """Classify images, in as many requests as needed.

        The model shown is that of the last request. ``model``: an id, `pets`, `pets/3` or `pets@best`; default: the
        default name.
        """
        params = {"top_k": top_k} | ({"model": model} if model else {})
        answers = [self._predict(part, params, len(images) == 1) for part in _parted(images)]
        found = [answer for answer in answers if not isinstance(answer, ServiceError)]
        if not found:
            raise next(answer for answer in answers if isinstance(answer, ServiceError))
        predictions = [one for answer in answers for one in _predictions(answer)]
        times = {name: round(sum(answer["timing_ms"][name] for answer in found), 3) for name in found[-1]["timing_ms"]}
        return {"model": found[-1]["model"], "predictions": predictions, "timing_ms": times}

    def _predict(self, images: Sequence[Image], params: dict[str, Any], is_alone: bool) -> "Predictions | ServiceError":
        """Classify images in one request; return an unreadable single image's error.

        The error is returned only if images were sent in other requests too; else it is raised.
        """
        parts = [("file", _part(image)) for image in images]
        try:
            return self._call(Predictions, "POST", "/predict", files=parts, params=params)
        except ServiceError as error:
            if is_alone or len(images) > 1 or error.status not in UNREADABLE_IMAGE:
                raise
            return error

    def send_batch(self, file: Path, top_k: int = 3, model: str | None = None) -> Batch:
        """Start a batch prediction for a zip or a JSON-lines manifest.

        The zip holds images. The file is streamed.
        """
        kind = "application/x-ndjson" if file.suffix in (".ndjson", ".jsonl") else "application/zip"
        with file.open("rb") as content:
            params = {"top_k": top_k} | ({"model": model} if model else {})
            options = {"params": params, "headers": {"Content-Type": kind}}
            return self._call(Batch, "POST", "/batches", content=content, **options)

    def follow_batch(self, batch_id: str) -> Iterator[Batch]:
        """Yield the batch repeatedly until it has ended."""
        return self._follow(lambda: self._call(Batch, "GET", f"/batches/{batch_id}"))

    def results(self, batch_id: str) -> Iterator[bytes]:
        """Stream the results so far, as JSON lines."""
        try:
            with self._http.stream("GET", f"/batches/{batch_id}/results") as answer:
                if answer.is_error:
                    answer.read()
                    raise ServiceError(_detail(answer))
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def add_key(self, name: str, scopes: Sequence[str], models: Sequence[str] | None = None) -> MadeKey:
        """Create an API key; only this response holds the key itself.

        ``models``: the names of the models that it may use; default: all.
        """
        wanted = {"name": name, "scopes": list(scopes), "models": list(models) if models else None}
        return self._call(MadeKey, "POST", "/keys", json=wanted)

    def keys(self) -> list[Key]:
        return self._list(Key, "/keys")

    def revoke_key(self, key_id: str) -> None:
        self._accepted("DELETE", f"/keys/{quote(key_id, safe='')}")

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

    def begin_upload(self, length: int, name: str = "") -> str:
        """Begin a resumable upload of ``length`` bytes; return its id.

        ``name`` is shown in the list of uploads.
        """
        headers = TUS | {"Upload-Length": str(length)}
        if name:
            headers["Upload-Metadata"] = f"filename {b64encode(sendable_name(name).encode()).decode()}"
        answer = self._accepted("POST", "/uploads", headers=headers)
        return str(answer.headers["location"]).rpartition("/")[2]

    def send_piece(self, upload_id: str, offset: int, data: bytes) -> int:
        """Upload the bytes at ``offset``; return the new offset."""
        headers = TUS | PIECE | {"Upload-Offset": str(offset)}
        return _offset_in(self._accepted("PATCH", f"/uploads/{upload_id}", headers=headers, content=data))

    def uploads(self, limit: int = 20) -> list[Upload]:
        """Return the newest open uploads of the own key.

        With the scope admin, those of all keys.
        """
        return self._pages(Upload, "/uploads", limit)

    def upload_offset(self, upload_id: str) -> int:
        return _offset_in(self._accepted("HEAD", f"/uploads/{upload_id}", headers=TUS))

    def end_upload(self, upload_id: str) -> None:
        """Delete an upload."""
        self._accepted("DELETE", f"/uploads/{upload_id}", headers=TUS)

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

    def follow(self, job_id: str) -> Iterator[Job]:
        """Yield the job repeatedly until it has ended.

        A service that restarts meanwhile is awaited.
        """
        return self._follow(lambda: self.job(job_id))

    def wait(self, job_id: str, timeout_s: float = inf) -> Job:
        """Wait until the job has ended, with any status.

        TimeoutError if it has not ended after ``timeout_s``.
        """
        until = time.monotonic() + timeout_s
        for job in self._follow(lambda: self.job(job_id, max(0.0, min(MAX_WAIT_S, until - time.monotonic())))):
            if job["status"] not in ENDED and time.monotonic() >= until:
                raise TimeoutError(f"{job_id} is {job['status']} after {timeout_s:g} s")
        return job

    def _follow(self, fetch: Callable[[], Ends]) -> Iterator[Ends]:
        misses = 0
        while True:
            try:
                seen = fetch()
                misses = 0
            except ServiceUnreachable:
                misses += 1
                if misses * POLL_S > 60:
                    raise
            else:
                yield seen
                if seen["status"] in ENDED:
                    return
            time.sleep(POLL_S)

    def _call(self, shape: type[Shape], method: str, path: str, **options: Any) -> Shape:  # noqa: ARG002
        """Return the response's JSON.

        ``shape`` is for type checkers and is not validated.
        """
        body: Shape = self._accepted(method, path, **options).json()
        return body

    def _pages(self, shape: type[Shape], path: str, limit: int, **only: str | None) -> list[Shape]:  # noqa: ARG002
        found: list[Shape] = []
        after: dict[str, Any] = {name: value for name, value in only.items() if value is not None}
        while len(found) < limit:
            params = {"limit": min(limit - len(found), MAX_PAGE), **after}
            page = self._accepted("GET", path, params=params).json()
            found += page["data"]
            if not page["has_more"]:
                break
            after["after"] = page["next"]
        return found

    def _list(self, shape: type[Shape], path: str, **options: Any) -> list[Shape]:  # noqa: ARG002
        data: list[Shape] = self._accepted("GET", path, **options).json()["data"]
        return data

    def _accepted(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self._request(method, path, **options)
        if answer.is_error:
            hint = " The command line reads its key from TUNESERVE_API_KEY." if answer.status_code == 401 else ""
            refusal = ServiceError(_detail(answer) + hint)
            refusal.status, refusal.errors = answer.status_code, _errors(answer)
            raise refusal
        return answer

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.TransportError) -> "ServiceUnreachable":
        return ServiceUnreachable(f"No service answers at {self.url} ({error}). Start one: tuneserve up")


class ServiceUnreachable(ServiceError):
    """No service answers at the URL."""


def _check(url: str, key: str | None) -> None:
    """Validate the URL and the key.

    ServiceError if no request could be sent with them.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ServiceError(f"{url} is no URL ({error}): give TUNESERVE_URL or --url as http://HOST:PORT") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ServiceError(f"{url} is no URL of a service: give TUNESERVE_URL or --url as http://HOST:PORT")
    if key and not (key.isascii() and key.isprintable()):
        raise ServiceError("TUNESERVE_API_KEY holds invalid characters: set it to a key that `keys add` printed")


def _part(image: Image) -> tuple[str, bytes]:
    """Return the name and the content of a file for a form."""
    if isinstance(image, bytes):
        return "image", image
    return sendable_name(Path(image).name), Path(image).read_bytes()


def _parted(images: Sequence[Image]) -> Iterator[list[Image]]:
    """Yield as many at a time as a request takes."""
    part: list[Image] = []
    size = 0
    for image in images:
        more = len(image) if isinstance(image, bytes) else Path(image).stat().st_size
        if part and (len(part) == MAX_IMAGES or size + more > MAX_IMAGES_BYTES):
            yield part
            part, size = [], 0
        part.append(image)
        size += more
    yield part


def _predictions(answer: Predictions | ServiceError) -> list[Prediction]:
    if isinstance(answer, ServiceError):
        return [{"abstained": False, "error": {"status": answer.status, "detail": str(answer)}}]
    return answer["predictions"]


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}: {answer.text[:200]}"


def _offset_in(answer: httpx.Response) -> int:
    return int(answer.headers["upload-offset"])


def _errors(answer: httpx.Response) -> tuple[dict[str, Any], ...]:
    try:
        return tuple(answer.json()["errors"])
    except (ValueError, KeyError, TypeError):
        return ()
