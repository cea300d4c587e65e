"""POST /batches and what follows, through the whole service.

The worker's part is done in the test.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.artifacts.batch_files import write_answers
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Model, Worker
from core.repositories import batch_predictions, workers
from core.settings import Settings
from tests.conftest import NOW, running
from tests.support.batchfiles import DIGITS, b64, digits, line, small, zip_of
from tests.support.fakes import answered
from tests.support.keys import bearer, with_keys
from worker.batch_prediction.process import run

Published = Callable[..., Model]
ZIP, LINES = "application/zip", "application/x-ndjson"
MANIFEST = f"{line(id='seven', b64=b64(small(7)))}\n\n{line(id='one', b64=b64(small(1)))}".encode()


@pytest.fixture
async def http(settings: Settings, published: Published) -> AsyncIterator[httpx.AsyncClient]:
    """The service, and a model that it serves."""
    published()
    async with running(settings) as client:
        yield client


@pytest.fixture
def work(settings: Settings, db: Database, store: LocalStore) -> Callable[[], None]:
    """A function that answers the oldest waiting batch as a worker."""

    def answer() -> None:
        with db.write() as session:
            if session.get(Worker, "worker_a") is None:
                workers.register(
                    session, Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=NOW * 2)
                )
            session.flush()
            claim = batch_predictions.claim(session, "worker_a", NOW)
        assert claim is not None
        run(settings, db, store, claim)

    return answer


async def post(
    http: httpx.AsyncClient, data: bytes | AsyncIterator[bytes], content_type: str | None = ZIP, **options: Any
) -> httpx.Response:
    headers = {} if content_type is None else {"Content-Type": content_type}
    return await http.post("/batches", content=data, headers=headers | options.pop("headers", {}), **options)


async def sent(http: httpx.AsyncClient, data: bytes, content_type: str = ZIP, **options: Any) -> dict[str, Any]:
    answer = await post(http, data, content_type, **options)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def results(http: httpx.AsyncClient, batch_id: str) -> list[dict[str, Any]]:
    answer = await http.get(f"/batches/{batch_id}/results")
    assert (answer.status_code, answer.headers["content-type"]) == (200, LINES)
    return [json.loads(found) for found in answer.text.splitlines()]


def stored(settings: Settings) -> list[Path]:
    folder = settings.data_dir / "batches"
    return [path for path in folder.rglob("*") if path.is_file()]


# -- bodies


async def test_a_zip_is_accepted_and_waits(http: httpx.AsyncClient) -> None:
    answer = await post(http, zip_of(digits(12)), params={"top_k": 2})
    batch = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/batches/{batch['id']}")
    assert answer.headers["retry-after"]
    assert (batch["status"], batch["total"], batch["done"], batch["top_k"]) == ("queued", 12, 0, 2)
    assert (await http.get(answer.headers["location"])).json() == batch


async def test_the_answers_come_in_the_images_order(http: httpx.AsyncClient, work: Callable[[], None]) -> None:
    batch = await sent(http, zip_of(digits(70)))
    work()
    lines = await results(http, batch["id"])
    assert [found["label"] for found in lines] == [str(number % 10) for number in range(70)]
    ended = (await http.get(f"/batches/{batch['id']}", params={"wait": 60})).json()
    assert (ended["status"], ended["done"], ended["errors"]) == ("succeeded", 70, 0)
    assert ended["model_id"] == "model_1"


async def test_an_answer_is_the_one_that_predict_gives(http: httpx.AsyncClient, work: Callable[[], None]) -> None:
    batch = await sent(http, zip_of({"7.png": DIGITS["7.png"]}))
    work()
    alone = (await http.post("/predict", files={"file": DIGITS["7.png"]})).json()["predictions"][0]
    assert await results(http, batch["id"]) == [{"index": 0, "name": "7.png"} | alone]


async def test_a_form_takes_zips_single_images_and_manifests(http: httpx.AsyncClient, work: Callable[[], None]) -> None:
    files = {"a.zip": zip_of({"z.png": small(3)}), "7.png": small(7), "m.jsonl": MANIFEST}
    answer = await http.post("/batches", files=[("file", (name, data)) for name, data in files.items()])
    assert answer.json()["total"] == 4
    work()
    lines = await results(http, answer.json()["id"])
    assert [found.get("name", found.get("id")) for found in lines] == ["z.png", "7.png", "seven", "one"]
    assert [found["label"] for found in lines] == ["3", "7", "7", "1"]


async def test_lines_of_json_are_counted_and_answered(http: httpx.AsyncClient, work: Callable[[], None]) -> None:
    batch = await sent(http, MANIFEST, LINES)
    assert batch["total"] == 2
    work()
    assert [(found["id"], found["label"]) for found in await results(http, batch["id"])] == [
        ("seven", "7"),
        ("one", "1"),
    ]


async def test_a_body_that_arrives_in_pieces_is_stored_whole(http: httpx.AsyncClient, settings: Settings) -> None:
    data = zip_of(digits(30))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100):
            yield data[start : start + 100]

    answer = await post(http, pieces())
    kept = settings.data_dir / "batches" / answer.json()["id"] / "input" / "0"
    assert hashlib.sha256(kept.read_bytes()).digest() == hashlib.sha256(data).digest()


async def test_a_body_larger_than_other_routes_take_is_accepted(settings: Settings, published: Published) -> None:
    published()
    async with running(settings.model_copy(update={"max_body_bytes": 100})) as http:
        assert (await post(http, zip_of(digits(9)))).status_code == 202
        assert (await http.post("/predict", files={"file": small(7)})).status_code == 413


@pytest.mark.parametrize(
    ("data", "content_type", "status", "words"),
    [
        (b"this is no zip", ZIP, 422, "not a zip"),
        (b"", ZIP, 422, "not a zip"),
        (zip_of(digits(2))[:-30], ZIP, 422, "not a zip"),
        (zip_of({"__MACOSX/._7.png": b"", "photos/": b""}), ZIP, 422, "no image"),
        (b"\n \n", LINES, 422, "no image"),
        (zip_of(digits(11)), ZIP, 422, "more than 10 images"),
        (b"{}\n" * 11, LINES, 422, "more than 10 images"),
        (bytes(5001), ZIP, 413, "5000 bytes"),
        (zip_of({f"{number}.txt": b"" for number in range(20)}), ZIP, 413, "TUNESERVE_MAX_ZIP_DIRECTORY_BYTES"),
        (small(7), "image/png", 415, "application/zip"),
        (b"{}", None, 415, "application/zip"),
    ],
)
async def test_a_body_that_cannot_be_a_batch_is_refused_and_leaves_nothing(
    settings: Settings, published: Published, data: bytes, content_type: str | None, status: int, words: str
) -> None:
    published()
    bounds = {"max_batch_bytes": 5000, "max_batch_images": 10, "max_zip_directory_bytes": 800}
    async with running(settings.model_copy(update=bounds)) as http:
        answer = await post(http, data, content_type)
        assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
        assert (await http.get("/batches")).json()["data"] == []
    assert stored(settings) == []


async def test_a_body_of_unknown_length_is_cut_off_at_the_limit(settings: Settings, published: Published) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):  # as good as endless
            yield bytes(1000)

    published()
    async with running(settings.model_copy(update={"max_batch_bytes": 5000})) as http:
        assert (await post(http, endless())).status_code == 413
    assert stored(settings) == []


@pytest.mark.parametrize(
    "files",
    [{"note": (None, "hello")}, [("file", (f"{number}.png", b"x")) for number in range(300)]],
    ids=["no", "300"],
)
async def test_a_form_without_files_or_with_too_many_is_refused(
    http: httpx.AsyncClient, settings: Settings, files: Any
) -> None:
    assert (await http.post("/batches", files=files)).status_code == 422
    assert stored(settings) == []


@pytest.mark.parametrize("params", [{"top_k": 0}, {"preprocess": "much"}], ids=str)
async def test_a_wrong_option_is_named(http: httpx.AsyncClient, params: dict[str, Any]) -> None:
    answer = await post(http, zip_of(digits(1)), params=params)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"query/{next(iter(params))}"


async def test_a_model_that_is_not_there_is_refused_before_the_body_is_read(http: httpx.AsyncClient) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    assert (await post(http, unread(), params={"model": "model_gone"})).status_code == 404


async def test_without_any_model_nothing_is_accepted(settings: Settings) -> None:
    async with running(settings) as http:
        answer = await post(http, zip_of(digits(1)))
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")


async def test_a_full_queue_refuses_one_more_and_keeps_no_bytes(settings: Settings, published: Published) -> None:
    published()
    async with running(settings.model_copy(update={"max_queued_batches": 1})) as http:
        await sent(http, zip_of(digits(1)))
        kept = stored(settings)
        answer = await post(http, zip_of(digits(1)))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert stored(settings) == kept


async def test_the_same_idempotency_key_makes_one_batch(http: httpx.AsyncClient, settings: Settings) -> None:
    headers = {"Idempotency-Key": "night-run"}
    first = await post(http, MANIFEST, LINES, headers=headers)
    kept = stored(settings)
    again = await post(http, MANIFEST, LINES, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    other = await post(http, MANIFEST + b"\n{}", LINES, headers=headers)
    assert other.status_code == 422
    assert stored(settings) == kept


# -- of whom it is


async def test_a_batch_is_its_own_keys_alone(settings: Settings, published: Published) -> None:
    """A batch belongs to the key that sent it.

    Who may read sees it too; only an admin stops or deletes another's. To others it is not there.
    """
    published()
    async with running(with_keys(settings)) as http:
        batch = await sent(http, zip_of(digits(1)), headers=bearer("asker"))
        path = f"/batches/{batch['id']}"
        calls = [("GET", path), ("GET", f"{path}/results"), ("POST", f"{path}/cancel"), ("DELETE", path)]

        async def tried(name: str, order: list[tuple[str, str]] = calls) -> list[int]:
            return [(await http.request(*call, headers=bearer(name))).status_code for call in order]

        async def listed(name: str) -> list[str]:
            return [one["id"] for one in (await http.get("/batches", headers=bearer(name))).json()["data"]]

        assert {name: await listed(name) for name in ("asker", "asker2", "reader")} == {
            "asker": [batch["id"]], "asker2": [], "reader": [batch["id"]],
        }  # fmt: skip
        assert await tried("asker2") == [404, 404, 404, 404]
        assert await tried("reader") == await tried("trainer") == [200, 200, 403, 403]
        assert await tried("asker") == [200, 200, 202, 204]
        batch = await sent(http, zip_of(digits(1)), headers=bearer("asker2"))
        path = f"/batches/{batch['id']}"
        assert await tried("boss", [("POST", f"{path}/cancel"), ("DELETE", path)]) == [202, 204]


async def test_a_batch_from_before_the_first_key_is_no_predict_keys(settings: Settings, published: Published) -> None:
    published()
    async with running(settings) as http:
        batch = await sent(http, zip_of(digits(1)))
    async with running(with_keys(settings)) as http:
        for name, status in (("asker", 404), ("reader", 200)):
            assert (await http.get(f"/batches/{batch['id']}", headers=bearer(name))).status_code == status


async def test_one_key_does_not_fill_the_queue_of_batches(settings: Settings, published: Published) -> None:
    published()
    limits = {"max_queued_batches": 3, "max_queued_batches_per_key": 1}
    async with running(with_keys(settings).model_copy(update=limits)) as http:
        statuses = [
            (await post(http, zip_of(digits(1)), headers=bearer(name))).status_code
            for name in ("asker", "asker", "asker2", "asker2")
        ]
    assert statuses == [202, 429, 202, 429]


# -- what becomes of it


async def test_while_it_runs_the_answers_so_far_can_be_read(
    http: httpx.AsyncClient, db: Database, store: LocalStore
) -> None:
    batch = await sent(http, zip_of(digits(3)))
    assert await results(http, batch["id"]) == []
    write_answers(store, batch_predictions.key_of(batch["id"]), 0, ['{"index": 0}', '{"index": 1}'])
    with db.write() as session:
        workers.register(session, Worker(id="w", host="here", pid=1, started_at=NOW, heartbeat_at=NOW * 2))
        session.flush()
        claim = batch_predictions.claim(session, "w", NOW)
        assert claim is not None
        batch_predictions.record(session, claim, NOW, done=2)
    assert [found["index"] for found in await results(http, batch["id"])] == [0, 1]


async def test_a_cancelled_batch_stays_as_it_is_until_it_is_deleted(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    path = f"/batches/{(await sent(http, zip_of(digits(2))))['id']}"
    assert (await http.delete(path)).status_code == 409
    cancelled = await http.post(f"{path}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert (await http.post(f"{path}/cancel")).status_code == 409
    assert stored(settings)
    assert (await http.delete(path)).status_code == 204
    assert [(await http.get(path)).status_code, (await http.get(f"{path}/results")).status_code] == [404, 404]
    assert stored(settings) == []


async def test_a_deletion_that_was_cut_off_can_be_repeated(http: httpx.AsyncClient, db: Database) -> None:
    batch_id = (await sent(http, zip_of(digits(2))))["id"]
    await http.post(f"/batches/{batch_id}/cancel")
    with db.write() as session:
        batch_predictions.delete_files(session, batch_id, NOW)
    assert (await http.get(f"/batches/{batch_id}/results")).status_code == 409
    assert (await http.delete(f"/batches/{batch_id}")).status_code == 204


async def test_pages_are_newest_first_and_filtered(http: httpx.AsyncClient) -> None:
    made = [(await sent(http, zip_of(digits(1))))["id"] for _ in range(3)]
    first = (await http.get("/batches", params={"limit": 2})).json()
    rest = (await http.get("/batches", params={"limit": 2, "after": first["next"]})).json()
    assert [batch["id"] for batch in first["data"] + rest["data"]] == sorted(made, reverse=True)
    assert (first["has_more"], rest["has_more"], rest["next"]) == (True, False, None)
    assert (await http.get("/batches", params={"status": "failed"})).json()["data"] == []


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/results"), ("POST", "/cancel"), ("DELETE", "")])
async def test_what_is_not_there_is_not_found(http: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await http.request(method, f"/batches/batch_x{path}")
    assert (answer.status_code, "batch_x" in answer.json()["detail"]) == (404, True)


async def test_a_batch_whose_worker_is_lost_waits_again(settings: Settings, db: Database, published: Published) -> None:
    published()
    async with running(settings.model_copy(update={"heartbeat_interval_s": 0.05})) as http:
        batch_id = (await sent(http, zip_of(digits(1))))["id"]
        with db.write() as session:
            workers.register(session, Worker(id="w", host="here", pid=1, started_at=NOW, heartbeat_at=0.0))
            session.flush()
            batch_predictions.claim(session, "w", NOW)
        error = (await _queued_again(http, batch_id))["error"]
    assert error["code"] == "worker_lost"


async def _queued_again(http: httpx.AsyncClient, batch_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def waits() -> bool:
        found.update((await http.get(f"/batches/{batch_id}")).json())
        return bool(found["status"] == "queued" and found["error"])

    await answered(waits)
    return found
