"""service.uploads.disk_space: how much is free, and how much must be."""

import shutil
from pathlib import Path

import pytest

from core.errors import NoSpace
from core.settings import Settings
from service.uploads import disk_space


def test_as_much_space_as_must_be_is_enough(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, lacks in ((settings.min_free_bytes, False), (settings.min_free_bytes - 1, True)):
        monkeypatch.setattr(disk_space, "free_bytes", lambda _, free=free: free)
        assert (disk_space.lack_of_space(settings) is not None) == lacks
    with pytest.raises(NoSpace, match="256 must be"):
        disk_space.require_space(settings)


def test_the_space_is_known_before_the_folder_is_made(tmp_path: Path) -> None:
    assert not (tmp_path / "not" / "yet").exists()
    assert disk_space.free_bytes(tmp_path / "not" / "yet") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
