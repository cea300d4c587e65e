"""worker.data.datasets.qmnist: MNIST's files with labels of eight numbers."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torchvision

from core.errors import DatasetInvalid, DatasetUnavailable
from core.settings import Settings
from tests.support.datafiles import idx, md5
from tests.support.webfolder import NOBODY, served
from worker.data.datasets import qmnist

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
LABELS = np.array([[7, 4, 907, 17, 55, 0, 0, 0], [0, 1, 300_000, 2, 48, 1, 0, 0], [9, 0, 5, 6, 57, 2, 0, 0]], ">i4")
FILES = {file: idx(LABELS, kind=0x0C) if "labels" in file else idx(IMAGES) for file in qmnist.FILES}


@pytest.fixture
def folder(settings: Settings) -> Path:
    where = settings.resolved_datasets_dir / "qmnist"
    (where / "QMNIST" / "raw").mkdir(parents=True)
    return where


@pytest.mark.parametrize("where", ["", "QMNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_the_first_number_is_the_class(settings: Settings, folder: Path, where: str, packed: bool) -> None:
    for file, content in FILES.items():
        (folder / where / (f"{file}.gz" if packed else file)).write_bytes(gzip.compress(content) if packed else content)
    data = qmnist.load(settings)
    assert data.train_labels.tolist() == data.test_labels.tolist() == [7, 0, 9]
    np.testing.assert_array_equal(data.train_images, IMAGES[..., None])
    assert (data.style, data.detail) == ("digit", 28)


@pytest.mark.parametrize("labels", [idx(LABELS[:, :1], kind=0x0C), idx(LABELS.astype(np.uint8))])
def test_labels_of_another_form_are_refused_by_name(settings: Settings, folder: Path, labels: bytes) -> None:
    for file, data in FILES.items():
        (folder / file).write_bytes(data)
    (folder / "qmnist-test-labels-idx2-int").write_bytes(labels)
    with pytest.raises(DatasetInvalid, match="qmnist-test-labels-idx2-int"):
        qmnist.load(settings)


def test_what_is_missing_is_downloaded_with_its_checksum(
    settings: Settings, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = {f"{file}.gz": gzip.compress(data) for file, data in FILES.items()}
    for name, data in packed.items():
        (tmp_path / name).write_bytes(data)
    (folder / qmnist.FILES[0]).write_bytes(FILES[qmnist.FILES[0]])
    with served(tmp_path) as address:
        entries = [(f"{address}/{name}", md5(data)) for name, data in packed.items()]
        monkeypatch.setattr(torchvision.datasets.QMNIST, "resources", {"train": entries[:2], "test": entries[2:]})
        found = qmnist.load(settings)
    assert not (folder / f"{qmnist.FILES[0]}.gz").exists()
    assert qmnist.load(settings).digest == found.digest  # the second time from the disk


@pytest.mark.parametrize("file", qmnist.FILES)
def test_torchvision_lists_every_file(settings: Settings, folder: Path, file: str) -> None:
    for other in qmnist.FILES:
        (folder / other).write_bytes(FILES[other])
    (folder / file).unlink()
    with pytest.raises(DatasetUnavailable, match=f"qmnist/{file}.gz") as refusal:
        qmnist.load(settings.model_copy(update={"datasets_mirror": NOBODY}))
    assert all(f"{file}.gz" in refusal.value.hint for file in qmnist.FILES)
