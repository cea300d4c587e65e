"""worker.data.formats.archives: unpacked whole, inside its folder and bounded, or not at all."""

import errno
import io
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from core.errors import DatasetInvalid
from tests.support.datafiles import tar_gz, zipped
from worker.data.formats import archives
from worker.data.formats.archives import MIN_BYTES_ON_DISK, read_files, unpack

FILES = {
    "birds/train/owl/1.png": b"owl" * 5000,
    "birds/train/owl/2.png": b"",
    "birds/val/jay/1.png": b"jay",
    "birds-old/train/owl/1.png": b"another folder",
    "README": b"read me",
}
PACKED: Mapping[str, Callable[[Mapping[str, bytes]], bytes]] = {"birds.tgz": tar_gz, "birds.zip": zipped}


@pytest.fixture(params=PACKED)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The path for an archive of that kind; nothing is there yet."""
    return tmp_path / str(request.param)


def pack(file: Path, files: Mapping[str, bytes]) -> None:
    file.write_bytes(PACKED[file.name](files))


def unpacked(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_wanted_folder_is_written_and_nothing_else(file: Path) -> None:
    pack(file, FILES)
    unpack(file, "birds", file.parent / "birds")
    expected = {name.removeprefix("birds/"): data for name, data in FILES.items() if name.startswith("birds/")}
    assert unpacked(file.parent / "birds") == expected
    assert {path.name for path in file.parent.iterdir()} == {file.name, "birds"}


def test_no_other_user_of_the_machine_may_read_it(file: Path) -> None:
    pack(file, FILES)
    unpack(file, "birds", file.parent / "birds")
    assert (file.parent / "birds").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["birds/../../stranger", "../stranger", "/tmp/stranger"])
def test_a_path_that_leads_out_is_refused_and_nothing_is_left(file: Path, name: str) -> None:
    pack(file, FILES | {name: b"x"})
    with pytest.raises(DatasetInvalid, match="leads out of it") as refusal:
        unpack(file, "birds", file.parent / "birds")
    assert "stranger" in str(refusal.value)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_passed_over(tmp_path: Path, kind: bytes) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("birds/owl/link")
        entry.type, entry.linkname = kind, "/etc"
        tar.addfile(entry)
        entry = tarfile.TarInfo("birds/owl/link/1.png")  # through the link, if it were there
        tar.addfile(entry)
    (tmp_path / "birds.tgz").write_bytes(packed.getvalue())
    unpack(tmp_path / "birds.tgz", "birds", tmp_path / "birds")
    assert unpacked(tmp_path / "birds") == {"owl/link/1.png": b""}


def test_an_archive_that_unpacks_to_too_much_is_refused(file: Path) -> None:
    pack(file, {"birds/owl/1.png": bytes(2**20)})
    with pytest.raises(DatasetInvalid, match=f"more than {2**20 - 1} bytes"):
        unpack(file, "birds", file.parent / "birds", max_bytes=2**20 - 1)
    unpack(file, "birds", file.parent / "birds", max_bytes=2**20)


def test_empty_files_without_end_are_too_much_as_well(file: Path) -> None:
    pack(file, {f"birds/owl/{number}": b"" for number in range(5)})
    with pytest.raises(DatasetInvalid, match="more than"):
        unpack(file, "birds", file.parent / "birds", max_bytes=4 * MIN_BYTES_ON_DISK)


@pytest.mark.parametrize("left", [0, 1, 20, 100, -1, -9, -30])
def test_a_truncated_archive_is_refused_by_name_and_leaves_nothing(file: Path, left: int) -> None:
    pack(file, FILES)
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(DatasetInvalid, match=file.name):
        unpack(file, "birds", file.parent / "birds")
    assert list(file.parent.iterdir()) == [file]


def test_a_changed_byte_is_found_out_by_the_checksum(file: Path) -> None:
    pack(file, {"birds/owl/1.png": bytes(range(256)) * 64})
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(DatasetInvalid, match=file.name):
        unpack(file, "birds", file.parent / "birds")


def test_an_archive_of_something_else_is_refused(file: Path) -> None:
    pack(file, {"fish/cod/1.png": b"x", "birds": b"a file of the folder's name"})
    with pytest.raises(DatasetInvalid, match="birds"):
        unpack(file, "birds", file.parent / "birds")
    assert list(file.parent.iterdir()) == [file]


def test_what_another_worker_has_unpacked_meanwhile_stays(file: Path) -> None:
    pack(file, FILES)
    (file.parent / "birds").mkdir()
    (file.parent / "birds" / "theirs").write_bytes(b"theirs")
    unpack(file, "birds", file.parent / "birds")
    assert unpacked(file.parent / "birds") == {"theirs": b"theirs"}


def test_a_full_disk_is_told_as_itself(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    pack(file, FILES)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(file, "birds", file.parent / "birds")
    assert list(file.parent.iterdir()) == [file]


def test_files_are_read_by_their_names_wherever_they_lie(file: Path) -> None:
    pack(file, {"deep/in/it/a.bin": b"a", "./b.bin": b"b", "c.bin": b"c"})
    assert read_files(file, ["b.bin", "a.bin"]) == {"a.bin": b"a", "b.bin": b"b"}


def test_a_file_that_is_not_in_it_is_named(file: Path) -> None:
    pack(file, {"a.bin": b"a"})
    with pytest.raises(DatasetInvalid, match=rf"{file.name} holds no b\.bin and no c\.bin"):
        read_files(file, ["a.bin", "b.bin", "c.bin"])


def test_no_more_is_read_than_allowed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MIN_BYTES_ON_DISK", 0)
    pack(file, {"a.bin": bytes(100)})
    assert len(read_files(file, ["a.bin"], max_bytes=100)["a.bin"]) == 100
    with pytest.raises(DatasetInvalid, match="more than 99 bytes"):
        read_files(file, ["a.bin"], max_bytes=99)
