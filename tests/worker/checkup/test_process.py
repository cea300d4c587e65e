"""worker.checkup.process: features are computed once, and what was planted is found."""

import gzip
import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.artifacts.dataset_files import StoredImage, path_of
from core.checkups import queue
from core.checkups.findings import Findings
from core.checkups.queue import Claim
from core.db.database import Database
from core.errors import ClaimLost
from core.imaging.idx_format import FILES
from core.repositories import datasets
from core.settings import Settings
from tests.conftest import NOW
from worker.checkup import embeddings, process
from worker.checkup.embeddings import embed
from worker.checkup.feature_files import FeatureFiles, Features
from worker.checkup.images import CheckedImages, of_version

SIDE = 28
Upload = Callable[[Sequence[tuple[str, str, bytes]]], Claim]


def drawing(label: str, number: int) -> Image.Image:
    """Draw a class's pattern with noise of its own."""
    chance = np.random.default_rng(number)
    values = chance.integers(0, 90, (SIDE, SIDE))
    step = 4 + number % 3
    if label == "stripes":
        values[::step] += 150
    else:
        values[:, ::step] += 150
    return Image.fromarray(values.astype(np.uint8))


def encode(picture: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, quality=80)
    return file.getvalue()


def samples(count: int = 12) -> list[tuple[str, str, bytes]]:
    """Part, class and bytes of images: two classes of ``count``."""
    return [
        ("train", label, encode(drawing(label, number))) for label in ("bars", "stripes") for number in range(count)
    ]


@pytest.fixture
def upload(settings: Settings, db: Database) -> Upload:
    """Make a version of these images, and claim its check-up."""

    def make(images: Sequence[tuple[str, str, bytes]]) -> Claim:
        stored = []
        for number, (part, label, data) in enumerate(images):
            digest = hashlib.sha256(data).hexdigest()
            path = path_of(settings.dataset_files_dir, "pets", digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            stored.append(StoredImage(part, label, f"{number}.png", digest))
        return claim_version(db, stored)

    return make


def claim_version(db: Database, stored: Sequence[StoredImage]) -> Claim:
    with db.write() as session:
        datasets.lock(session, "pets")
        newest = datasets.newest(session, "pets")
        old = datasets.images(session, "pets", newest.version) if newest else []
        version = datasets.add_version(session, "pets", old, datasets.keep_numbers(old, stored), {}, NOW).version
        queue.request(session, "pets", version, NOW)
        claim = queue.claim(session, "worker_a", NOW)
    assert claim is not None
    return claim


def found_in(db: Database) -> Findings:
    with db.read() as session:
        checkup = queue.find(session, "pets")
    assert checkup is not None
    return Findings.model_validate(checkup.findings)


def checked_of(settings: Settings, db: Database, claim: Claim) -> CheckedImages:
    with db.read() as session:
        return of_version("pets", datasets.images(session, "pets", claim.version), settings)


def test_what_was_planted_is_found_with_the_numbers_of_the_images(
    settings: Settings, db: Database, upload: Upload
) -> None:
    images = samples()
    images.append(("test", "bars", encode(drawing("bars", 3), "JPEG")))  # a leak: image 4, encoded again
    images += [("test", label, encode(drawing(label, number))) for label in ("bars", "stripes") for number in (90, 91)]
    images.append(("train", "bars", encode(drawing("stripes", 50))))
    process.run(settings, db, upload(images), lambda: NOW)
    found = found_in(db)
    assert [(pair.image.id, pair.like.id, pair.leak) for pair in found.near_duplicates] == [(25, 4, True)]
    assert (found.near_duplicate_count, found.leak_count) == (1, 1)
    assert [(one.image.id, one.image.label, one.suggested) for one in found.wrong_labels] == [(30, "bars", "stripes")]
    assert found.rare_classes == []


def test_an_image_is_embedded_once_whatever_versions_it_is_in(
    settings: Settings, db: Database, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = checked_of(settings, db, upload(samples(4)))
    files, done = FeatureFiles(settings.dataset_files_dir / "pets", embeddings.kind(first.side)), list[int]()
    monkeypatch.setattr(embeddings, "BLOCK", 3)
    with pytest.raises(ClaimLost):
        embed(first, files, stop_at(6))
    before = embed(first, files, done.append)
    assert done == [6, 8]
    assert len(list((settings.dataset_files_dir / "pets").glob("features-*"))) == 1
    second = checked_of(settings, db, upload(samples(4)[1:] + samples(5)[-1:]))
    done.clear()
    after = embed(second, files, done.append)
    assert done == [7, 8]
    np.testing.assert_array_equal(before.embeddings[1:], after.embeddings[:7])
    assert [digest.tobytes().hex() for digest in after.digests] == [image.digest for image in second.images]
    assert sum(map(len, files.load())) == 8  # nothing is kept of the image that left


def stop_at(images: int) -> Callable[[int], None]:
    def stop(done: int) -> None:
        if done >= images:
            raise ClaimLost("enough")

    return stop


def test_a_damaged_file_of_features_is_left_out_and_deleted(tmp_path: Path) -> None:
    files = FeatureFiles(tmp_path, "some")
    features = Features(np.ones((3, 32), np.uint8), np.ones((3, 5), np.float16), np.ones((3, 32, 32), np.uint8))
    whole = files.save(features).read_bytes()
    assert [len(found) for found in files.load()] == [3]
    other = Features(np.zeros((1, 32), np.uint8), features.embeddings[:1], features.pictures[:1, 0])
    for damage in (whole[:500], whole[:-40], b"", b"something else", files.save(other).read_bytes()):
        for path in tmp_path.iterdir():
            path.write_bytes(damage)
        assert (files.load(), [*tmp_path.iterdir()]) == ([], [])
        files.save(features)


def test_four_idx_files_are_checked_by_their_places(settings: Settings, db: Database, tmp_path: Path) -> None:
    images = np.stack([np.asarray(drawing(label, number)) for number in range(12) for label in ("bars", "stripes")])
    test = np.stack([np.asarray(drawing(label, number)) for number in (5, 80) for label in ("bars", "stripes")])
    labels = np.arange(24, dtype=np.uint8) % 2
    stored = []
    for file, values in zip(FILES, (images, labels, test, labels[:4]), strict=True):
        data = gzip.compress(idx(values))
        digest = hashlib.sha256(data).hexdigest()
        path = path_of(settings.dataset_files_dir, "pets", digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        stored.append(StoredImage("train", "", file, digest))
    process.run(settings, db, claim_version(db, stored), lambda: NOW)
    pairs = [(pair.image, pair.like) for pair in found_in(db).near_duplicates]
    assert {(image.file, like.file) for image, like in pairs} == {
        (f"{FILES[2]} 0", f"{FILES[0]} 10"),
        (f"{FILES[2]} 1", f"{FILES[0]} 11"),
    }
    assert {image.id for pair in pairs for image in pair} == {None}


def idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(side.to_bytes(4, "big") for side in values.shape)
    return header + values.astype(np.uint8).tobytes()


def test_a_check_up_that_was_taken_away_writes_nothing(settings: Settings, db: Database, upload: Upload) -> None:
    claim = upload(samples(2))
    with db.write() as session:
        queue.release(session, claim)
    with pytest.raises(ClaimLost):
        process.run(settings, db, claim, lambda: NOW)
