"""service.uploads.spool: large forms wait in the data directory and leave nothing."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.settings import Settings
from service import server
from tests.conftest import running


def open_files() -> list[str]:
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except OSError:  # closed meanwhile
            continue
    return found


async def test_the_large_parts_of_a_form_wait_in_the_data_directory(settings: Settings) -> None:
    seen: list[str] = []

    async def form() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.zip"\r\n\r\n'
        for _ in range(4):
            yield b"x" * 2**20
        seen.extend(open_files())
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with running(settings) as http:
        for path in ("/predict", "/datasets?name=pets"):
            seen.clear()
            assert (await http.post(path, content=form(), headers=headers)).status_code in (422, 503)
            assert any(name.startswith(f"{settings.spool_dir}/") for name in seen), path
        assert not any(name.startswith(f"{settings.spool_dir}/") for name in open_files())
    assert list(settings.spool_dir.iterdir()) == []
    assert tempfile.gettempdir() != str(settings.spool_dir)


def test_what_a_killed_process_left_there_goes_at_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.spool_dir.mkdir(parents=True)
    (settings.spool_dir / "left").write_bytes(b"x")
    monkeypatch.setattr(server, "run", lambda _: None)
    monkeypatch.setenv("TUNESERVE_DATA_DIR", str(settings.data_dir))
    server.serve()
    assert not (settings.spool_dir / "left").exists()
