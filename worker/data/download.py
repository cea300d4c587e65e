"""Downloads with a checksum, from the first of several addresses that works."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from core.errors import is_disk_full
from core.settings import Settings


def fetch(urls: Sequence[str], target: Path, algorithm: str, digest_prefix: str, settings: Settings) -> None:
    """Download a file from the first address that works.

    ``target`` appears only when complete. URLError lists every address's failure.
    """
    if settings.offline:
        raise URLError("TUNESERVE_OFFLINE is set")
    reasons = []
    for url in urls:
        try:
            _fetch_one(url, target, algorithm, digest_prefix, settings.download_timeout_s)
            return
        except (OSError, HTTPException, ValueError) as error:  # ValueError: not an address at all
            if is_disk_full(error):
                raise
            reasons.append(f"{url}: {error}")
    raise URLError("; ".join(reasons))


def _fetch_one(url: str, target: Path, algorithm: str, digest_prefix: str, timeout_s: float) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    part = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file, urlopen(url, timeout=timeout_s) as answer:
            shutil.copyfileobj(answer, file)
            length, expected = file.tell(), answer.headers.get("Content-Length")
            file.seek(0)
            digest = hashlib.file_digest(file, algorithm).hexdigest()
        if expected is not None and length != int(expected):
            raise OSError(f"{length} of {expected} bytes came")
        if not digest.startswith(digest_prefix):
            raise OSError(f"{algorithm} is {digest}, not {digest_prefix}")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
