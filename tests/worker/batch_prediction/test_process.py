"""worker.batch_prediction.process: every image gets one line, whatever dies.

That holds whatever the image is and whenever the process dies.
"""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core.artifacts.batch_files import Part
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Batch, BatchStatus, Model, Worker
from core.errors import ClaimLost, InternalFailure, Killed, ModelUnavailable
from core.imaging import decoding
from core.repositories import batch_predictions, workers
from core.repositories.batch_predictions import Claim
from core.settings import Settings
from tests.conftest import NOW
from tests.support.batchfiles import DIGITS, OPTIONS, answers, b64, digits, encrypt, lay, line, zip_of
from worker.batch_prediction import inputs
from worker.batch_prediction.process import CHUNK, leave, run
from worker.processes.exit_codes import EXIT_CLAIM_LOST
from worker.processes.launcher import start_batch

Published = Callable[..., Model]
Started = Callable[..., Claim]
ZIP, MANIFEST = Part("zip", "input/0", "images.zip"), Part("manifest", "input/1", "")
BATCH = "batch_1"
SEVEN = DIGITS["7.png"]


class Died(BaseException):
    """An exception that stands for kill -9."""


class DyingStore(LocalStore):
    """A store that dies when it writes a given object.

    ``written``: it dies right behind that.
    """

    def __init__(self, root: Path, at: str, written: bool) -> None:
        super().__init__(root)
        self._at = at
        self._written = written

    def put(self, key: str, data: bytes) -> None:
        if not key.endswith(self._at):
            super().put(key, data)
            return
        if self._written:
            super().put(key, data)
        raise Died


@pytest.fixture
def started(db: Database, store: LocalStore, published: Published) -> Started:
    """A batch of these files, claimed; a model serves."""

    def make(*files: tuple[Part, bytes], total: int, **options: object) -> Claim:
        published()
        lay(store, BATCH, *files)
        with db.write() as session:
            workers.register(session, Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
            batch_predictions.enqueue(session, BATCH, OPTIONS | options, total, NOW, 9)
        return claim(db)

    return make


@pytest.fixture
def batch(db: Database) -> Callable[[], Batch]:
    def get() -> Batch:
        with db.read() as session:
            return batch_predictions.get(session, BATCH)

    return get


def claim(db: Database) -> Claim:
    with db.write() as session:
        taken = batch_predictions.claim(session, "worker_a", NOW)
    assert taken is not None
    return taken


def codes(lines: list[dict[str, Any]]) -> list[str]:
    """List each line's label, or the code of its error."""
    return [entry["error"]["code"] if "error" in entry else entry["label"] for entry in lines]


def test_a_zip_is_answered_line_by_line_in_its_order(
    settings: Settings, db: Database, store: LocalStore, started: Started, batch: Callable[[], Batch]
) -> None:
    count = 2 * CHUNK + 5
    run(settings, db, store, started((ZIP, zip_of(digits(count))), total=count))
    lines = answers(store, BATCH, count)
    assert [entry["index"] for entry in lines] == list(range(count))
    assert [entry["label"] for entry in lines] == [str(number % 10) for number in range(count)]
    assert lines[12]["name"] == "0012.png"
    assert (batch().status, batch().done, batch().errors) == (BatchStatus.SUCCEEDED, count, 0)


def test_a_line_says_what_predict_says(settings: Settings, db: Database, store: LocalStore, started: Started) -> None:
    run(settings, db, store, started((ZIP, zip_of({"a/7.png": SEVEN})), total=1, top_k=2))
    (said,) = answers(store, BATCH, 1)
    assert (said["index"], said["name"], said["label"], said["class_index"]) == (0, "a/7.png", "7", 7)
    assert (said["top_k"][0]["label"], len(said["top_k"])) == ("7", 2)
    assert said["probability"] == said["top_k"][0]["probability"]
    assert (said["abstained"], "preprocessing" in said) == (False, True)


@pytest.mark.parametrize("written", [False, True], ids=["before the answers are stored", "before they are counted"])
@pytest.mark.parametrize("first", [0, CHUNK, 2 * CHUNK])
def test_killed_between_two_writes_and_run_again_every_image_has_one_line(
    settings: Settings,
    db: Database,
    store: LocalStore,
    started: Started,
    batch: Callable[[], Batch],
    first: int,
    written: bool,
) -> None:
    count = 2 * CHUNK + 5
    of = started((ZIP, zip_of(digits(count))), total=count)
    with pytest.raises(Died):
        run(settings, db, DyingStore(settings.data_dir, f"{first:09d}.jsonl", written), of)
    assert batch().done == first
    with db.write() as session:
        batch_predictions.release(session, of)
    run(settings, db, store, claim(db))
    assert [entry["index"] for entry in answers(store, BATCH, count)] == list(range(count))
    assert (batch().status, batch().done, batch().attempt) == (BatchStatus.SUCCEEDED, count, 2)


@pytest.mark.parametrize("deadly", [[0], [3, CHUNK + 7]], ids=["the first one", "two of them"])
def test_an_image_that_kills_its_process_is_an_error_of_its_own(
    settings: Settings,
    db: Database,
    store: LocalStore,
    started: Started,
    batch: Callable[[], Batch],
    monkeypatch: pytest.MonkeyPatch,
    deadly: list[int],
) -> None:
    def decode(data: bytes, max_pixels: int) -> Image.Image:
        if data.endswith(b"deadly"):
            raise Died
        return decoded(data, max_pixels)

    decoded = decoding.decode
    monkeypatch.setattr(inputs, "decode", decode)
    count = 2 * CHUNK + 5
    files = digits(count)
    for index in deadly:
        files[f"{index:04d}.png"] += b"deadly"
    of = started((ZIP, zip_of(files)), total=count)
    while batch().status is BatchStatus.RUNNING:
        try:
            run(settings, db, store, of)
        except Died:
            with db.write() as session:
                batch_predictions.retry_or_fail(session, of, Killed("by SIGSEGV"), NOW)
            if batch().status is BatchStatus.QUEUED:
                of = claim(db)
    assert codes(answers(store, BATCH, count)) == [
        "not_an_image" if index in deadly else str(index % 10) for index in range(count)
    ]
    assert (batch().status, batch().errors) == (BatchStatus.SUCCEEDED, len(deadly))


def test_each_bad_image_has_its_own_error_and_the_others_their_answers(
    settings: Settings, db: Database, store: LocalStore, started: Started, batch: Callable[[], Batch]
) -> None:
    files = {"text.txt": b"hello", "cut.png": SEVEN[:80], "empty.png": b"", "large.png": b"\0" * 9000, "7.png": SEVEN}
    of = started((ZIP, zip_of(files)), total=5)
    run(settings.model_copy(update={"max_body_bytes": 8000}), db, store, of)
    lines = answers(store, BATCH, 5)
    assert codes(lines) == ["not_an_image", "not_an_image", "not_an_image", "too_large", "7"]
    assert [entry["name"] for entry in lines] == list(files)
    assert (batch().status, batch().errors) == (BatchStatus.SUCCEEDED, 4)


def test_what_a_system_puts_into_a_zip_is_passed_over(
    settings: Settings, db: Database, store: LocalStore, started: Started
) -> None:
    junk = ("photos/", "__MACOSX/photos/._7.png", "photos/.DS_Store", "photos/._7.png", "Thumbs.db")
    run(settings, db, store, started((ZIP, zip_of(dict.fromkeys(junk, b"") | {"photos/7.png": SEVEN})), total=1))
    (only,) = answers(store, BATCH, 1)
    assert (only["name"], only["label"]) == ("photos/7.png", "7")


def test_a_name_whose_encoding_nothing_tells_is_answered_with_a_warning_and_utf_8_is_read(
    settings: Settings, db: Database, store: LocalStore, started: Started
) -> None:
    dogs, files = (
        ("狗".encode("gbk"), "犬犬".encode("shift-jis")),
        {"xx.png": SEVEN, "yyyy.png": SEVEN, "zzz.png": SEVEN},
    )
    sent = zip_of(files).replace(b"xx.png", dogs[0] + b".png").replace(b"yyyy.png", dogs[1] + b".png")
    run(settings, db, store, started((ZIP, sent.replace(b"zzz.png", "犬".encode() + b".png")), total=3))
    lines = answers(store, BATCH, 3)
    assert [entry["label"] for entry in lines] == ["7", "7", "7"]
    assert [entry.get("warning", {}).get("code") for entry in lines] == ["name_encoding", "name_encoding", None]
    assert "UTF-8" in lines[0]["warning"]["detail"]
    assert lines[2]["name"] == "犬.png"


def test_an_encrypted_entry_is_an_error_of_its_own(
    settings: Settings, db: Database, store: LocalStore, started: Started
) -> None:
    run(settings, db, store, started((ZIP, zip_of({"7.png": SEVEN}, encrypt)), total=1))
    (only,) = answers(store, BATCH, 1)
    assert only["error"]["code"] == "not_an_image"
    assert "encrypted" in only["error"]["detail"]


def test_a_damaged_entry_is_an_error_of_its_own(
    settings: Settings, db: Database, store: LocalStore, started: Started
) -> None:
    data = bytearray(zip_of({"a.png": SEVEN, "b.png": SEVEN}))
    data[60:80] = bytes(20)  # within the first one's packed bytes
    run(settings, db, store, started((ZIP, bytes(data)), total=2))
    assert codes(answers(store, BATCH, 2)) == ["not_an_image", "7"]


def test_a_bomb_is_not_unpacked(
    settings: Settings, db: Database, store: LocalStore, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    read = zipfile.ZipExtFile.read

    def watched(file: zipfile.ZipExtFile, size: int = -1) -> bytes:
        asked.append(size)
        return read(file, size)

    of = started((ZIP, zip_of({"bomb.png": bytes(50_000_000), "7.png": SEVEN})), total=2)
    monkeypatch.setattr(zipfile.ZipExtFile, "read", watched)
    run(settings.model_copy(update={"max_body_bytes": 100_000}), db, store, of)
    assert codes(answers(store, BATCH, 2)) == ["too_large", "7"]
    assert asked == [100_001, 100_001]


def test_a_manifest_is_answered_by_id_and_each_bad_line_has_its_error(
    settings: Settings, db: Database, store: LocalStore, started: Started
) -> None:
    good = [line(id="seven", b64=b64(SEVEN)), line(id=3, b64=b64(DIGITS["3.png"])), line(b64=b64(DIGITS["1.png"]))]
    bad = [
        line(id="both", b64="", array=[[0]]), line(id="bad", b64="?"), "{", "7", line(id="x", url="http://x"),
        line(id="ragged", array=[[0, 1], [2]]), line(b64="A" * 9000), '{"array": [[NaN]]}',
    ]  # fmt: skip
    manifest = "\n\n".join([*good, *bad]).encode() + b"\n\xff\xfe\n"
    of = started((MANIFEST, manifest), total=12)
    run(settings.model_copy(update={"max_body_bytes": 8000}), db, store, of)
    lines = answers(store, BATCH, 12)
    assert codes(lines[:3]) == ["7", "3", "1"]
    assert [entry.get("id") for entry in lines[:3]] == ["seven", 3, None]
    assert codes(lines[3:]) == ["invalid_input"] * 6 + ["too_large"] + ["invalid_input"] * 2
    assert [entry["index"] for entry in lines] == list(range(12))


def test_parts_of_every_kind_are_answered_one_behind_the_other(
    settings: Settings, db: Database, store: LocalStore, started: Started
) -> None:
    image = Part("image", "input/2", "two.png")
    manifest = line(id=1, b64=b64(DIGITS["1.png"])).encode()
    files = ((MANIFEST, manifest), (ZIP, zip_of({"z.png": SEVEN})), (image, DIGITS["2.png"]))
    run(settings, db, store, started(*files, total=3))
    lines = answers(store, BATCH, 3)
    assert codes(lines) == ["1", "7", "2"]
    assert [entry.get("id", entry.get("name")) for entry in lines] == [1, "z.png", "two.png"]


def test_a_blank_image_is_no_digit(settings: Settings, db: Database, store: LocalStore, started: Started) -> None:
    run(settings, db, store, started((MANIFEST, line(array=[[0] * 28] * 28).encode()), total=1))
    (blank,) = answers(store, BATCH, 1)
    assert (blank["label"], blank["abstained"]) == ("no_digit", True)


def test_all_attempts_answer_with_the_model_of_the_first(
    settings: Settings,
    db: Database,
    store: LocalStore,
    started: Started,
    published: Published,
    batch: Callable[[], Batch],
) -> None:
    of = started((ZIP, zip_of(digits(CHUNK + 1))), total=CHUNK + 1)
    with pytest.raises(Died):
        run(settings, db, DyingStore(settings.data_dir, f"{CHUNK:09d}.jsonl", written=False), of)
    first = batch().model_id
    with db.write() as session:
        batch_predictions.release(session, of)
    assert published().id != first
    run(settings, db, store, claim(db))
    assert (batch().model_id, batch().status) == (first, BatchStatus.SUCCEEDED)


def test_a_model_that_is_gone_ends_it_with_the_reason(
    settings: Settings, db: Database, store: LocalStore, started: Started
) -> None:
    of = started((ZIP, zip_of({"7.png": SEVEN})), total=1, model="model_gone")
    with pytest.raises(ModelUnavailable, match="model_gone"):
        run(settings, db, store, of)


def test_a_batch_with_fewer_images_than_were_counted_does_not_succeed(
    settings: Settings, db: Database, store: LocalStore, started: Started, batch: Callable[[], Batch]
) -> None:
    with pytest.raises(InternalFailure, match="1 images were found, and 2"):
        run(settings, db, store, started((ZIP, zip_of({"7.png": SEVEN})), total=2))
    assert batch().status is BatchStatus.RUNNING


class CancellingStore(LocalStore):
    """A store that cancels the batch at its second chunk.

    A person would do so while it is being stored.
    """

    db: Database

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        if key.endswith(f"{CHUNK:09d}.jsonl"):
            with self.db.write() as session:
                batch_predictions.cancel(session, BATCH, NOW)


def test_a_batch_cancelled_midway_stops_and_keeps_what_was_counted(
    settings: Settings, db: Database, started: Started, batch: Callable[[], Batch]
) -> None:
    store = CancellingStore(settings.data_dir)
    store.db = db
    with pytest.raises(ClaimLost):
        run(settings, db, store, started((ZIP, zip_of(digits(3 * CHUNK))), total=3 * CHUNK))
    assert (batch().status, batch().done) == (BatchStatus.CANCELLED, CHUNK)
    assert len(answers(store, BATCH, batch().done)) == CHUNK


def test_what_was_stored_after_the_deletion_goes_too(
    settings: Settings, db: Database, store: LocalStore, started: Started
) -> None:
    of = started((ZIP, zip_of({"7.png": SEVEN})), total=1)
    with db.write() as session:
        batch_predictions.cancel(session, BATCH, NOW)
    assert leave(db, store, of) == EXIT_CLAIM_LOST
    assert (settings.data_dir / "batches" / BATCH).exists()
    with db.write() as session:
        batch_predictions.delete_files(session, BATCH, NOW)
    leave(db, store, of)
    assert not (settings.data_dir / "batches" / BATCH).exists()


def test_a_long_chunk_sends_heartbeats_when_they_are_due(
    settings: Settings, db: Database, store: LocalStore, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    heartbeats: list[float] = []
    times = iter(range(1000))
    record = batch_predictions.record

    def watched(session: object, of: Claim, now: float, **columns: object) -> None:
        if not columns:
            heartbeats.append(now)
        record(session, of, now, **columns)  # type: ignore[arg-type]

    of = started((ZIP, zip_of(digits(30))), total=30)
    monkeypatch.setattr(batch_predictions, "record", watched)
    run(settings.model_copy(update={"heartbeat_interval_s": 10.0}), db, store, of, clock=lambda: float(next(times)))
    assert [now // 10 for now in heartbeats] == [1, 2, 3]  # each look at the clock takes a second


# -- the process itself


def test_the_process_answers_and_ends(
    settings: Settings, db: Database, store: LocalStore, started: Started, batch: Callable[[], Batch]
) -> None:
    of = started((ZIP, zip_of(digits(5))), total=5)
    assert start_batch(of, settings).wait(60) == 0
    assert codes(answers(store, BATCH, 5)) == list("01234")
    assert batch().status is BatchStatus.SUCCEEDED


def test_the_process_records_why_it_failed(
    settings: Settings, db: Database, started: Started, batch: Callable[[], Batch]
) -> None:
    of = started((ZIP, b"this is no zip"), total=5)
    assert start_batch(of, settings).wait(60) == 0
    error = batch().error
    assert error is not None
    assert (batch().status, error["code"]) == (BatchStatus.QUEUED, "internal")
    assert "BadZipFile" in error["message"]


def test_a_process_of_a_late_attempt_leaves(settings: Settings, db: Database, started: Started) -> None:
    late = started((ZIP, zip_of(digits(1))), total=1)
    with db.write() as session:
        batch_predictions.release(session, late)
    assert start_batch(late, settings).wait(60) == EXIT_CLAIM_LOST


def test_it_starts_without_torch() -> None:
    check = (
        "import worker.batch_prediction.process, sys, json\n"
        "print(json.dumps([module for module in sys.modules if module.startswith('torch')]))"
    )
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ran.stdout) == []
