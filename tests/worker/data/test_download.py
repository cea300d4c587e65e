"""worker.data.download: a file is whole and as expected, or absent."""

import errno
import hashlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

from core.settings import Settings
from tests.support.webfolder import NOBODY, served
from worker.data.download import fetch

CONTENT = b"what was asked for" * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The address of a real HTTP server that has ``file``."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "file").write_bytes(CONTENT)
    with served(folder) as address:
        yield address


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "deep" / "file"


def test_a_file_comes_over_http_into_a_folder_that_was_not_there(site: str, target: Path) -> None:
    fetch([f"{site}/file"], target, "md5", MD5, Settings())
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_no_other_user_of_the_machine_may_read_it(site: str, target: Path) -> None:
    fetch([f"{site}/file"], target, "md5", MD5, Settings())
    assert target.stat().st_mode & 0o777 == 0o600


def test_the_start_of_a_digest_is_enough(site: str, target: Path) -> None:
    fetch([f"{site}/file"], target, "sha256", hashlib.sha256(CONTENT).hexdigest()[:8], Settings())
    assert target.is_file()


def test_what_does_not_have_the_digest_is_refused_and_leaves_nothing(site: str, target: Path) -> None:
    with pytest.raises(URLError, match=f"md5 is {MD5}, not 0123"):
        fetch([f"{site}/file"], target, "md5", "0123", Settings())
    assert list(target.parent.iterdir()) == []


def test_what_was_there_stays_when_the_download_fails(site: str, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(b"before")
    with pytest.raises(URLError):
        fetch([f"{site}/file"], target, "md5", "0123", Settings())
    assert target.read_bytes() == b"before"


def test_the_next_address_is_tried_when_one_has_nothing(site: str, target: Path) -> None:
    fetch([f"{NOBODY}/file", f"{site}/missing", f"{site}/file"], target, "md5", MD5, Settings())
    assert target.read_bytes() == CONTENT


def test_the_error_has_every_addresss_reason(site: str, target: Path) -> None:
    with pytest.raises(URLError) as refusal:
        fetch([f"{NOBODY}/file", f"{site}/missing", "/no/address"], target, "md5", MD5, Settings())
    reason = str(refusal.value.reason)
    for words in (NOBODY, "refused", f"{site}/missing", "404", "/no/address", "unknown url type"):
        assert words in reason


def test_a_host_that_hangs_up_is_a_reason_like_any_other(target: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(URLError, match=r"127\.0\.0\.1"):
            fetch([f"http://127.0.0.1:{listener.getsockname()[1]}/file"], target, "md5", MD5, Settings())
        thread.join()


def test_a_folder_that_cannot_be_made_is_a_reason_too(site: str, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(URLError, match=r"File exists|Not a directory"):
        fetch([f"{site}/file"], tmp_path / "cache" / "file", "md5", MD5, Settings())


def test_offline_nothing_is_downloaded(site: str, target: Path) -> None:
    with pytest.raises(URLError, match="TUNESERVE_OFFLINE is set"):
        fetch([f"{site}/file"], target, "md5", MD5, Settings(offline=True))
    assert not target.exists()


def test_a_full_disk_is_not_the_hosts_fault(tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="No space left") as failure:
        fetch([(tmp_path / "file").as_uri()] * 2, target, "md5", MD5, Settings())
    assert failure.value.errno == errno.ENOSPC
    assert list(target.parent.iterdir()) == []
