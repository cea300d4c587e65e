"""The reserve of a disk stays free, whatever is sent.

A small disk of memory is filled.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from core.db.tables import Model
from core.settings import Settings
from service.api.routes.uploads import PIECE
from service.uploads import disk_space
from tests.conftest import running
from tests.support.batchfiles import small, zip_of
from tests.support.datafiles import zipped
from tests.support.disks import fill, free_on, small_disk
from tests.support.setfiles import pets

MIB = 2**20
LEAST = 4 * MIB
FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.zip"\r\n\r\n'
BODIES = {  # content type, and how it begins
    "/batches?top_k=1": (("application/zip", b"PK\x03\x04"), ("application/x-ndjson", b"{"), (FORM, PART)),
    "/datasets?name=pets": (("application/zip", b"PK\x03\x04"), (FORM, PART)),
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "24m") as folder:
        yield folder


@pytest.fixture
def settings(settings: Settings, disk: Path) -> Settings:
    return settings.model_copy(update={"data_dir": disk / "data", "min_free_bytes": LEAST})


async def announce(http: httpx.AsyncClient, length: int) -> httpx.Response:
    return await http.post("/uploads", headers={"Upload-Length": str(length)})


async def send(http: httpx.AsyncClient, path: str, data: bytes, offset: int = 0) -> httpx.Response:
    return await http.patch(path, content=data, headers={"Upload-Offset": str(offset), "Content-Type": PIECE})


def spooled(settings: Settings) -> list[str]:
    """List the open files in the spool folder.

    They have no name and still take space.
    """
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:  # closed meanwhile
            continue
    return [link for link in links if link.startswith(str(settings.spool_dir))]


async def test_uploads_announced_together_leave_the_reserve(settings: Settings, disk: Path) -> None:
    async with running(settings) as http:
        asked = [await announce(http, 7 * MIB) for _ in range(4)]
        assert [answer.status_code for answer in asked] == [201, 201, 503, 503]
        assert asked[2].json()["code"] == "disk_full"
        assert "GET /uploads" in asked[2].json()["detail"]
        paths = [answer.headers["location"] for answer in asked[:2]]
        for path in paths:
            assert (await send(http, path, bytes(7 * MIB))).status_code == 204
        assert free_on(disk) >= LEAST
        await http.delete(paths[0])  # what has come of the other one is not owed any more
        assert (await announce(http, 7 * MIB)).status_code == 201


async def test_a_piece_that_no_longer_fits_is_refused_and_what_came_stays(settings: Settings, disk: Path) -> None:
    async with running(settings) as http:
        path = (await announce(http, 7 * MIB)).headers["location"]
        await send(http, path, bytes(MIB))
        filler = fill(disk, LEAST / MIB + 1)
        refused = await send(http, path, bytes(2 * MIB), MIB)
        assert (refused.status_code, refused.json()["code"]) == (503, "disk_full")
        assert free_on(disk) >= LEAST
        filler.unlink()
        offset = int((await http.head(path)).headers["upload-offset"])
        assert offset >= MIB
        assert (await send(http, path, bytes(7 * MIB - offset), offset)).status_code == 204


async def test_a_body_of_unknown_length_ends_where_the_reserve_begins(
    settings: Settings, disk: Path, published: Callable[..., Model]
) -> None:
    published()
    lowest = []

    async def endless(start: bytes) -> AsyncIterator[bytes]:
        yield start
        while True:
            lowest.append(free_on(disk))
            yield bytes(MIB // 4)

    async with running(settings) as http:
        before = sorted(path for path in settings.data_dir.rglob("*") if path.is_file())
        for path, kinds in BODIES.items():
            for content_type, start in kinds:
                answer = await http.post(path, content=endless(start), headers={"Content-Type": content_type})
                assert (answer.status_code, answer.json()["code"]) == (503, "disk_full"), (path, content_type)
                assert spooled(settings) == []
        assert min(lowest) >= LEAST
        assert sorted(path for path in settings.data_dir.rglob("*") if path.is_file()) == before
        assert free_on(disk) > 2 * LEAST


async def test_a_disk_that_is_full_all_the_same_is_told(
    settings: Settings, published: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full all the same is reported.

    The cause may be a quota, or another program that writes at the same moment.
    """
    published()
    monkeypatch.setattr(disk_space, "free_bytes", lambda _: 2**60)
    async with running(settings) as http:
        for path, kinds in BODIES.items():
            for content_type, start in kinds:
                body = start + bytes(24 * MIB)
                answer = await http.post(path, content=body, headers={"Content-Type": content_type})
                assert (answer.status_code, answer.json()["code"]) == (503, "disk_full"), (path, content_type)
        path = (await announce(http, 24 * MIB)).headers["location"]
        assert (await send(http, path, bytes(24 * MIB))).json()["code"] == "disk_full"


async def test_the_copy_of_a_form_leaves_the_reserve_too(
    settings: Settings, disk: Path, published: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A form's copy leaves the reserve free too.

    It lies there twice for a moment: in the spool, and where it is kept.
    """
    published()
    lowest = [free_on(disk)]
    usage = disk_space.free_bytes

    def watched(path: Path) -> int:
        lowest.append(free_on(disk))
        return usage(path)

    monkeypatch.setattr(disk_space, "free_bytes", watched)
    body = PART + b"x" * (11 * MIB) + b"\r\n--b--\r\n"
    async with running(settings) as http:
        for path in BODIES:
            answer = await http.post(path, content=body, headers={"Content-Type": FORM})
            assert (answer.status_code, answer.json()["code"]) == (503, "disk_full"), path
    assert min(lowest) >= LEAST


async def test_a_body_does_not_take_what_was_promised_to_uploads(
    settings: Settings, published: Callable[..., Model]
) -> None:
    published()

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with running(settings) as http:
        for path in BODIES:
            headers = {"Content-Type": "application/zip", "Content-Length": str(8 * MIB)}
            promised = (await announce(http, 14 * MIB)).headers["location"]
            answer = await http.post(path, content=unread(), headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (503, "disk_full"), path
            await http.delete(promised)
        assert (await http.post("/batches", content=zip_of({"7.png": small(7)}), headers=headers)).status_code == 202


async def test_what_came_as_an_upload_becomes_a_data_set_beside_another_that_is_open(settings: Settings) -> None:
    data = zipped(pets("cat", "dog"))
    async with running(settings) as http:
        path = (await announce(http, len(data))).headers["location"]
        await send(http, path, data)
        assert (await announce(http, 15 * MIB)).status_code == 201
        assert (await http.post(f"/datasets?name=pets&upload={path.split('/')[-1]}")).status_code == 201
