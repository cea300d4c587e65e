"""worker.data.sources: a data set's file from folder, mirror, or makers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import DatasetUnavailable
from core.settings import Settings
from tests.support.datafiles import md5
from tests.support.webfolder import NOBODY, served
from worker.data.sources import download, find

CONTENT = b"a file of a data set"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "site" / "letters").mkdir(parents=True)
    (tmp_path / "site" / "letters" / "a.bin").write_bytes(CONTENT)
    with served(tmp_path / "site") as address:
        yield address


def test_the_first_file_that_is_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    (tmp_path / "c").touch()
    (tmp_path / "a").mkdir()
    assert find(tmp_path, ["a", "b", "c"]) == tmp_path / "b"
    assert find(tmp_path, ["d"]) is None


def test_the_makers_addresses_are_tried_in_turn(settings: Settings, site: str) -> None:
    path = download("letters", [f"{NOBODY}/a.bin", f"{site}/letters/a.bin"], md5(CONTENT), "a.bin", settings)
    assert path == settings.resolved_datasets_dir / "letters" / "a.bin"
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_is_asked_instead_by_the_data_sets_name(settings: Settings, site: str, slash: str) -> None:
    mirrored = settings.model_copy(update={"datasets_mirror": site + slash})
    assert download("letters", [f"{NOBODY}/deep/a.bin"], md5(CONTENT), "a.bin", mirrored).read_bytes() == CONTENT


def test_with_a_mirror_nobody_else_is_asked(settings: Settings, site: str) -> None:
    elsewhere = settings.model_copy(update={"datasets_mirror": NOBODY})
    with pytest.raises(DatasetUnavailable, match=NOBODY) as refusal:
        download("letters", [f"{site}/letters/a.bin"], md5(CONTENT), "a.bin or b.bin", elsewhere)
    assert refusal.value.hint == f"Put a.bin or b.bin into {settings.resolved_datasets_dir / 'letters'}."


def test_a_file_with_another_checksum_is_not_kept(settings: Settings, site: str) -> None:
    with pytest.raises(DatasetUnavailable, match="md5 is"):
        download("letters", [f"{site}/letters/a.bin"], md5(b"other"), "a.bin", settings)
    assert list((settings.resolved_datasets_dir / "letters").iterdir()) == []
