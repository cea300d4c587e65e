"""Files from the internet: the first address that answers, checked, and there only when whole."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen


def fetch(urls: Sequence[str], target: Path, algorithm: str, digest_prefix: str, timeout_s: float) -> None:
    """Download to ``target``. URLError, with every address's reason, if none gave the file with that digest."""
    reasons = []
    target.parent.mkdir(parents=True, exist_ok=True)
    for url in urls:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        part = Path(name)
        try:
            with os.fdopen(handle, "w+b") as file, urlopen(url, timeout=timeout_s) as answer:
                shutil.copyfileobj(answer, file)
                file.seek(0)
                digest = hashlib.file_digest(file, algorithm).hexdigest()
            if digest.startswith(digest_prefix):
                part.replace(target)
                return
            reasons.append(f"{url}: {algorithm} is {digest}, not {digest_prefix}")
        except (OSError, HTTPException) as error:
            reasons.append(f"{url}: {error}")
        finally:
            part.unlink(missing_ok=True)
    raise URLError("; ".join(reasons))
