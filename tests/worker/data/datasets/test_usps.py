"""worker.data.datasets.usps: both forms of its files give the same digits."""

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest

from core.errors import DatasetInvalid, DatasetUnavailable
from core.settings import Settings
from tests.support.webfolder import NOBODY
from worker.data.datasets import usps

ROWS = np.concatenate([np.arange(10)[:, None], np.random.default_rng(0).uniform(-1, 1, (10, 256)).round(3)], axis=1)


@pytest.fixture
def folder(settings: Settings) -> Path:
    where = settings.resolved_datasets_dir / "usps"
    where.mkdir(parents=True)
    return where


def as_text() -> bytes:
    return gzip.compress("\n".join(" ".join(str(value) for value in row) for row in ROWS).encode())


def as_libsvm() -> bytes:
    lines = [f"{int(row[0]) + 1} " + " ".join(f"{n}:{v}" for n, v in enumerate(row[1:], 1)) for row in ROWS]
    return bz2.compress("\n".join(lines).encode())


def test_both_forms_give_the_same_digits(settings: Settings, folder: Path) -> None:
    (folder / "zip.train.gz").write_bytes(as_text())
    (folder / "usps.t.bz2").write_bytes(as_libsvm())
    data = usps.load(settings)
    assert data.train_labels.tolist() == data.test_labels.tolist() == list(range(10))
    assert data.train_images.shape == (10, 28, 28, 1)
    np.testing.assert_array_equal(data.train_images, data.test_images)


def test_a_damaged_file_is_refused_by_name(settings: Settings, folder: Path) -> None:
    (folder / "zip.train.gz").write_bytes(as_text()[:-20])
    with pytest.raises(DatasetInvalid, match=r"zip\.train\.gz"):
        usps.load(settings)


def test_a_file_of_another_shape_is_refused(settings: Settings, folder: Path) -> None:
    (folder / "zip.train.gz").write_bytes(gzip.compress(b"1 0.5 0.5\n"))
    with pytest.raises(DatasetInvalid, match="256 values"):
        usps.load(settings)


def test_nothing_there_and_nobody_to_ask_says_what_to_put_where(settings: Settings) -> None:
    with pytest.raises(DatasetUnavailable) as refusal:
        usps.load(settings.model_copy(update={"datasets_mirror": NOBODY}))
    assert "usps_zip.train.gz" in refusal.value.hint


def test_the_real_ones_are_all_there(settings: Settings, shared: Path) -> None:
    data = usps.load(settings.model_copy(update={"datasets_dir": shared / "data"}))
    assert (len(data.train_labels), len(data.test_labels)) == (7291, 2007)
    assert set(np.unique(data.train_labels)) == set(range(10))
