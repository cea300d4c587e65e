"""service.uploads.resumable and its routes: uploads in pieces by the protocol tus."""

import base64
import os
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from core.db.database import Database
from core.db.tables import Upload
from core.errors import Conflict, NoSpace, NotFound, TooLarge
from core.repositories import uploads as rows
from core.settings import Settings
from service.api.routes.uploads import PIECE
from service.uploads import disk_space
from service.uploads.resumable import STALE_S, Uploads, owed_bytes, sweep
from tests.conftest import NOW, running
from tests.support.datafiles import zipped
from tests.support.fakes import until
from tests.support.keys import bearer, with_keys
from tests.support.setfiles import pets

PETS = zipped(pets("cat", "dog"))
HALF = len(PETS) // 2


async def begin(http: httpx.AsyncClient, length: int = len(PETS), of: str | None = None) -> str:
    own = {"Upload-Length": str(length), "Tus-Resumable": "1.0.0"}
    answer = await http.post("/uploads", headers=own | (bearer(of) if of else {}))
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


async def send(http: httpx.AsyncClient, path: str, offset: int, data: Any, **headers: str) -> httpx.Response:
    own = {"Upload-Offset": str(offset), "Content-Type": PIECE, "Tus-Resumable": "1.0.0"}
    return await http.patch(path, content=data, headers=own | headers)


async def offset_of(http: httpx.AsyncClient, path: str) -> int:
    return int((await http.head(path)).headers["upload-offset"])


async def make(http: httpx.AsyncClient, path: str, name: str = "pets", **headers: str) -> httpx.Response:
    return await http.post("/datasets", params={"name": name, "upload": path.split("/")[-1]}, headers=headers)


async def whole(http: httpx.AsyncClient, data: bytes = PETS) -> str:
    path = await begin(http, len(data))
    assert (await send(http, path, 0, data)).status_code == 204
    return path


async def test_pieces_become_a_data_set_and_are_used_up(http: httpx.AsyncClient, settings: Settings) -> None:
    path = await begin(http)
    for offset, data in ((0, PETS[:HALF]), (HALF, PETS[HALF:])):
        answer = await send(http, path, offset, data)
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(offset + len(data)))
    assert (await make(http, path)).json()["images"] == 6
    assert (await make(http, path, "others")).status_code == 404
    assert list((settings.data_dir / "uploads").iterdir()) == []


async def test_a_piece_that_breaks_off_is_kept_and_the_rest_goes_on_behind_it(live: str, settings: Settings) -> None:
    async with httpx.AsyncClient(base_url=live, timeout=60) as http:
        path = await begin(http)
        broken = HTTPConnection(httpx.URL(live).netloc.decode())
        broken.putrequest("PATCH", path)
        for header in (("Content-Length", len(PETS)), ("Content-Type", PIECE), ("Upload-Offset", 0)):
            broken.putheader(header[0], str(header[1]))
        broken.endheaders(PETS[:HALF])
        file = settings.data_dir / path.lstrip("/")
        await until(lambda: file.stat().st_size == HALF)
        broken.close()
        assert await offset_of(http, path) == HALF
        assert (await make(http, path)).status_code == 409  # not whole
        await send(http, path, HALF, PETS[HALF:])
        assert (await make(http, path)).status_code == 201


async def test_another_service_goes_on_where_a_killed_one_ended(
    settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another service continues an upload from the file's size.

    Nothing of it waits in a buffer.
    """
    uploads = Uploads(settings, db, None)
    with db.write() as session:
        upload_id = uploads.create(session, len(PETS), None, NOW)
    with uploads.writing(upload_id, 0) as piece:
        piece.write(PETS[:HALF])
        async with running(settings) as http:
            assert await offset_of(http, f"/uploads/{upload_id}") == HALF
            monkeypatch.setattr(rows, "SILENT_S", -1.0)  # it has passed
            await send(http, f"/uploads/{upload_id}", HALF, PETS[HALF:])
            assert (await make(http, f"/uploads/{upload_id}")).status_code == 201


@pytest.mark.parametrize("offset", [0, HALF - 1, HALF + 1, len(PETS)])
async def test_what_is_not_the_next_piece_is_refused(http: httpx.AsyncClient, offset: int) -> None:
    path = await begin(http)
    await send(http, path, 0, PETS[:HALF])
    assert (await send(http, path, offset, b"x")).status_code == 409
    assert await offset_of(http, path) == HALF


async def test_more_than_was_announced_is_too_large(http: httpx.AsyncClient) -> None:
    path = await whole(http)
    assert (await send(http, path, len(PETS), b"x")).status_code == 413
    assert await offset_of(http, path) == len(PETS)


async def test_the_limits_are_those_of_data_sets_and_of_the_disk(settings: Settings) -> None:
    limits: dict[str, int] = {"max_dataset_bytes": 100, "max_body_bytes": 10, "max_open_uploads": 2}
    async with running(settings.model_copy(update=limits)) as http:
        asked = [await http.post("/uploads", headers={"Upload-Length": str(size)}) for size in (101, 100, 100, 1)]
        assert [answer.status_code for answer in asked] == [413, 201, 201, 429]
        assert (await send(http, asked[1].headers["location"], 0, bytes(100))).status_code == 204
        await http.delete(asked[1].headers["location"])
        await begin(http, 1)
    async with running(settings.model_copy(update={"min_free_bytes": 2**60})) as http:
        assert (await http.post("/uploads", headers={"Upload-Length": "1"})).status_code == 503


async def test_what_was_never_begun_is_not_found(http: httpx.AsyncClient) -> None:
    for name in ("none", f"upload_{'0' * 21}", "..%2f..%2ftuneserve.db", "%2fetc%2fpasswd"):
        path = f"/uploads/{name}"
        answers = [await http.head(path), await http.delete(path), await send(http, path, 0, b"x")]
        assert {answer.status_code for answer in answers} == {404}
        assert (await http.post(f"/datasets?name=pets&upload={name}")).status_code == 404


async def test_a_client_of_tus_is_told_what_is_spoken(http: httpx.AsyncClient, settings: Settings) -> None:
    told = (await http.options("/uploads")).headers
    assert (told["tus-version"], told["tus-max-size"]) == ("1.0.0", str(settings.max_dataset_bytes))
    refusal = await http.post("/uploads", headers={"Upload-Length": "1", "Tus-Resumable": "0.2.2"})
    assert (refusal.status_code, refusal.headers["tus-version"]) == (412, "1.0.0")
    path = await begin(http)
    head = await http.head(path)
    assert (head.headers["tus-resumable"], head.headers["cache-control"]) == ("1.0.0", "no-store")
    assert (await send(http, path, 0, b"x", **{"Content-Type": "text/plain"})).status_code == 415


async def test_the_name_of_the_file_is_shown(http: httpx.AsyncClient) -> None:
    told = {"": None, "filename": None, "filename cGV0cy56aXA=": "pets.zip", "type eA==, filename w6kK,x": "\u00e9\\n"}
    for metadata, name in told.items():
        answer = await http.post("/uploads", headers={"Upload-Length": "1", "Upload-Metadata": metadata})
        assert (await http.get("/uploads")).json()["data"][0]["name"] == name
        sent_back = (await http.head(answer.headers["location"])).headers.get("upload-metadata")
        assert sent_back == (name and f"filename {base64.b64encode(name.encode()).decode()}")
    for wrong in ("filename %", "filename /w=="):
        answer = await http.post("/uploads", headers={"Upload-Length": "1", "Upload-Metadata": wrong})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "header/upload-metadata")


async def test_a_name_that_is_taken_does_not_use_it_up(http: httpx.AsyncClient) -> None:
    assert (await make(http, await whole(http))).status_code == 201
    path = await whole(http)
    assert (await make(http, path)).status_code == 409
    assert (await make(http, path, "others")).status_code == 201


async def test_the_same_request_again_is_the_same_answer(http: httpx.AsyncClient) -> None:
    path = await whole(http)
    first, again = [await make(http, path, **{"Idempotency-Key": "one"}) for _ in range(2)]
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert (await make(http, path, **{"Idempotency-Key": "two"})).status_code == 404


# -- whose it is


async def test_an_upload_is_its_own_keys_alone(settings: Settings) -> None:
    """An upload belongs to the key that began it.

    To another key it is not there, whatever is asked; an admin goes on with it, uses it and ends it.
    """
    async with running(with_keys(settings)) as http:

        async def tried(name: str, path: str) -> list[int]:
            key = bearer(name)
            sent = [await http.head(path, headers=key), await send(http, path, HALF, PETS[HALF:], **key)]
            made = await make(http, path, f"pets-of-{name}", **key)
            return [answer.status_code for answer in (*sent, made, await http.delete(path, headers=key))]

        for name in ("trainer", "boss"):
            path = await begin(http, of="trainer")
            await send(http, path, 0, PETS[:HALF], **bearer("trainer"))
            assert await tried("trainer2", path) == [404, 404, 404, 404]
            assert await tried("reader", path) == await tried("asker", path) == [403, 403, 403, 403]
            assert await tried(name, path) == [200, 204, 201, 404]  # it was used up
        path = await begin(http, of="trainer")
        assert (await http.delete(path, headers=bearer("trainer2"))).status_code == 404
        assert (await http.delete(path, headers=bearer("boss"))).status_code == 204


async def test_an_upload_from_before_the_first_key_is_an_admins(settings: Settings) -> None:
    async with running(settings) as http:
        path = await begin(http)
    async with running(with_keys(settings)) as http:
        for name, status in (("trainer", 404), ("boss", 200)):
            assert (await http.head(path, headers=bearer(name))).status_code == status


async def test_everybody_sees_the_own_uploads_and_an_admin_all(settings: Settings) -> None:
    async with running(with_keys(settings)) as http:
        names = ("trainer", "trainer2", "trainer")
        ids = [(await begin(http, len(PETS) + at, of=of)).split("/")[-1] for at, of in enumerate(names)]
        await send(http, f"/uploads/{ids[0]}", 0, PETS[:HALF], **bearer("trainer"))

        async def listed(name: str, **params: Any) -> dict[str, Any]:
            body: dict[str, Any] = (await http.get("/uploads", params=params, headers=bearer(name))).json()
            return body

        for name, seen in (("trainer", [ids[2], ids[0]]), ("trainer2", [ids[1]]), ("boss", ids[::-1])):
            assert [one["id"] for one in (await listed(name))["data"]] == seen
        shown = (await listed("boss"))["data"][2]
        assert {name: shown[name] for name in ("owner", "offset", "length", "name")} == {
            "owner": "env:trainer", "offset": HALF, "length": len(PETS), "name": None,
        }  # fmt: skip
        left = datetime.fromisoformat(shown["expires_at"]) - datetime.fromisoformat(shown["created_at"])
        assert STALE_S <= left.total_seconds() < STALE_S + 600
        first = await listed("boss", limit=2)
        assert ([one["id"] for one in first["data"]], first["has_more"]) == (ids[:0:-1], True)
        rest = await listed("boss", limit=2, after=first["next"])
        assert ([one["id"] for one in rest["data"]], rest["has_more"], rest["next"]) == (ids[:1], False, None)


async def test_one_key_does_not_take_every_place(settings: Settings) -> None:
    limits = {"max_open_uploads": 3, "max_open_uploads_per_key": 1}
    async with running(with_keys(settings).model_copy(update=limits)) as http:
        asked = [
            await http.post("/uploads", headers={"Upload-Length": "1"} | bearer(name))
            for name in ("trainer", "trainer", "trainer2", "boss", "boss")
        ]
        assert [answer.status_code for answer in asked] == [201, 429, 201, 201, 429]
        assert "TUNESERVE_MAX_OPEN_UPLOADS_PER_KEY" in asked[1].json()["detail"]
        assert "TUNESERVE_MAX_OPEN_UPLOADS:" in asked[4].json()["detail"]
        await http.delete(asked[0].headers["location"], headers=bearer("boss"))
        assert await begin(http, 1, of="trainer")


# -- the file and its row


@pytest.fixture
def announced(settings: Settings, db: Database) -> Callable[[int], str]:
    """An upload of so many bytes, of which none has come."""

    def make(length: int) -> str:
        with db.write() as session:
            return Uploads(settings, db, None).create(session, length, None, NOW)

    return make


@pytest.fixture
def finished(settings: Settings, db: Database, announced: Callable[[int], str]) -> Callable[[int], str]:
    """An upload of so many bytes, all of which have come."""

    def make(length: int) -> str:
        upload_id = announced(length)
        with Uploads(settings, db, None).writing(upload_id, 0) as piece:
            piece.write(bytes(length))
        return upload_id

    return make


def test_two_requests_do_not_use_the_same_one(settings: Settings, db: Database, finished: Callable[[int], str]) -> None:
    uploads, upload_id = Uploads(settings, db, None), finished(3)
    with uploads.using(upload_id) as file:
        assert file.read_bytes() == bytes(3)
        with pytest.raises(Conflict, match="Another request"), uploads.using(upload_id):
            pass
    with uploads.using(upload_id):
        pass


def test_to_what_nothing_has_come_for_a_day_goes(
    settings: Settings, db: Database, finished: Callable[[int], str]
) -> None:
    uploads, ids = Uploads(settings, db, None), [finished(1), finished(2)]
    for upload_id, at in zip(ids, (NOW, NOW + 2), strict=True):
        os.utime(settings.data_dir / "uploads" / upload_id, (at, at))
    sweep(settings, db, NOW + STALE_S + 1)
    assert uploads.get(ids[1]).is_whole
    with pytest.raises(NotFound):
        uploads.get(ids[0])
    assert [file.name for file in (settings.data_dir / "uploads").iterdir()] == ids[1:]


def test_an_uploads_own_length_must_fit_beside_the_reserve(
    settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_space, "free_bytes", lambda _: settings.min_free_bytes + 10)
    uploads = Uploads(settings, db, None)
    with pytest.raises(NoSpace, match="11 bytes more do not fit"), db.write() as session:
        uploads.create(session, 11, None, NOW)
    with db.write() as session:
        uploads.create(session, 10, None, NOW)
    assert len(list((settings.data_dir / "uploads").iterdir())) == 1


def test_what_open_uploads_owe_is_kept_free_for_them_for_a_while(
    settings: Settings, db: Database, announced: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open uploads' owed bytes stay reserved for a while.

    One to which nothing comes any more does not lock others out; an empty one goes.
    """
    uploads, wait_s = Uploads(settings, db, None), settings.upload_reservation_s
    folder = settings.data_dir / "uploads"

    def owed(now: float) -> int:
        with db.read() as session:
            return owed_bytes(session, settings, now)

    empty, begun = announced(60), announced(30)
    with uploads.writing(begun, 0) as piece:
        piece.write(bytes(10))
    for upload_id, at in ((empty, NOW), (begun, NOW + 2)):
        os.utime(folder / upload_id, (at, at))
    assert [owed(NOW + wait_s + at) for at in (-1, 1, 3)] == [80, 20, 0]
    monkeypatch.setattr(disk_space, "free_bytes", lambda _: settings.min_free_bytes + 80)
    for at, length, fits in ((-1, 1, False), (1, 61, False), (1, 60, True), (3, 80, True)):
        with nullcontext() if fits else pytest.raises(NoSpace), db.write() as session:
            uploads.create(session, length, None, NOW + wait_s + at)
            session.rollback()
    sweep(settings, db, NOW + wait_s + 1)
    with pytest.raises(NotFound):
        uploads.get(empty)
    assert uploads.get(begun).offset == 10


def test_half_of_an_upload_goes_too(settings: Settings, db: Database, finished: Callable[[int], str]) -> None:
    """Rows without files and files without rows are deleted.

    A service that is killed leaves a row whose file is gone, or a file whose row was never written.
    """
    folder = settings.data_dir / "uploads"
    (folder / finished(1)).unlink()
    for name, at in (("upload_old", NOW - STALE_S), ("upload_new", NOW)):
        (folder / name).touch()
        os.utime(folder / name, (at, at))
    sweep(settings, db, NOW + 1)
    with db.read() as session:
        assert session.query(Upload).count() == 0
    assert [file.name for file in folder.iterdir()] == ["upload_new"]  # its row may be about to be written


def test_of_a_piece_that_is_too_long_nothing_is_kept(
    settings: Settings, db: Database, announced: Callable[[int], str]
) -> None:
    uploads, upload_id = Uploads(settings, db, None), announced(3)
    with pytest.raises(TooLarge), uploads.writing(upload_id, 0) as piece:
        piece.write(b"1234")
    assert uploads.get(upload_id).offset == 0


def test_one_request_at_a_time_writes_and_a_silent_one_gives_way(
    settings: Settings, db: Database, announced: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Uploads(settings, db, None), Uploads(settings, db, None)  # of two services
    upload_id = announced(3)
    with first.writing(upload_id, 0) as piece:
        with pytest.raises(Conflict, match="Another request is writing"), second.writing(upload_id, 0):
            pass
        piece.write(b"1")
        monkeypatch.setattr(rows, "SILENT_S", -1.0)  # it has passed
        with second.writing(upload_id, 1) as later:
            later.write(b"2")
            with pytest.raises(Conflict, match="since this one was silent"):
                piece.write(b"x")
    monkeypatch.undo()
    with second.writing(upload_id, 2) as last:
        last.write(b"3")
    with second.using(upload_id) as file:
        assert file.read_bytes() == b"123"


def test_a_piece_of_what_is_given_up_meanwhile_ends(
    settings: Settings, db: Database, announced: Callable[[int], str]
) -> None:
    uploads, upload_id = Uploads(settings, db, None), announced(3)
    with uploads.writing(upload_id, 0) as piece:
        piece.write(b"1")
        uploads.remove(upload_id)
        with pytest.raises(NotFound):
            piece.write(b"2")
