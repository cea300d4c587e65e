"""worker.data.streaming: images are brought to the device batch by batch."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Self

import numpy as np
import pytest
import torch
from torch import Tensor

import worker.data.streaming
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Job, JobStatus
from core.errors import DatasetInvalid
from core.imaging.preparation import Pixels
from core.repositories import events, models
from core.repositories.jobs import Claim
from core.settings import Settings
from tests.support.photofiles import photos_of, pixels_of, write_photos
from worker import trainer
from worker.attempt.reporter import Reporter
from worker.data.streaming import PIECE, PIECES_AHEAD, OnHost, Streamed

CPU = torch.device("cpu")
on_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
EACH_DEVICE = ("cpu", pytest.param("cuda", marks=on_gpu))


class FakeDecoders:
    """Decodes here and at once, and counts what it was asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.left = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.left = True

    def submit(self, paths: Sequence[str], out: Pixels) -> Future[None]:
        self.asked += len(paths)
        for path, image in zip(paths, out, strict=True):
            image[:] = pixels_of(path)
        done: Future[None] = Future()
        done.set_result(None)
        return done


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDecoders:
    decoders = FakeDecoders()
    monkeypatch.setattr(worker.data.streaming, "Decoders", lambda _count, _form, _max_pixels: decoders)
    return decoders


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    return write_photos(tmp_path, 20)


def in_memory(paths: list[str]) -> Tensor:
    return torch.from_numpy(np.stack([pixels_of(path) for path in paths]))


@pytest.fixture
def order() -> list[Tensor]:
    """Batches of twelve images and the rest.

    Some images come twice, some not at all.
    """
    rows = torch.randint(0, 20, (43,), generator=torch.Generator().manual_seed(0))
    return list(torch.split(rows, 12))


@pytest.mark.parametrize("device", EACH_DEVICE)
@pytest.mark.parametrize("processes", [1, 3])
def test_streamed_photos_are_those_in_memory(
    paths: list[str], order: list[Tensor], processes: int, device: str
) -> None:
    streamed = Streamed(photos_of(paths, processes), CPU).to(torch.device(device))
    images = in_memory(paths)
    taken = list(streamed.take(order))
    assert [batch.device.type for batch in taken] == [device] * 4
    for batch, rows in zip(taken, order, strict=True):
        assert torch.equal(batch.cpu(), images[rows])


@pytest.mark.parametrize("device", EACH_DEVICE)
def test_what_is_on_the_host_is_brought_batch_by_batch(order: list[Tensor], device: str) -> None:
    values = torch.randn(20, 3, 2)
    kept = OnHost(values, CPU).to(torch.device(device))
    for batch, rows in zip(kept.take(order), order, strict=True):
        assert batch.device.type == device
        assert torch.equal(batch.cpu(), values[rows])


def test_a_few_photos_are_read_without_any_process(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(worker.data.streaming, "Decoders")
    streamed = Streamed(photos_of(paths), CPU)
    assert torch.equal(streamed.some(torch.tensor([7, 3])), in_memory([paths[7], paths[3]]))
    Path(paths[3]).unlink()
    with pytest.raises(DatasetInvalid, match=r"003\.png"):
        streamed.some(torch.tensor([7, 3]))


@pytest.mark.parametrize("size", [4, 64])
def test_no_more_is_decoded_ahead_than_keeps_the_processes_busy(
    paths: list[str], fake: FakeDecoders, size: int
) -> None:
    enough = 2 * PIECE * PIECES_AHEAD
    taken = Streamed(photos_of(paths, processes=2), CPU).take([torch.arange(size) % 20] * 50)
    for number in range(3):
        next(taken)
        assert enough <= fake.asked - (number + 1) * size < enough + size


def test_whoever_leaves_early_leaves_no_process(paths: list[str], fake: FakeDecoders) -> None:
    taken = Streamed(photos_of(paths), CPU).take([torch.arange(4)] * 9)
    next(taken)
    assert not fake.left
    del taken
    assert fake.left


def test_a_photo_that_vanishes_meanwhile_ends_it_by_name(paths: list[str], order: list[Tensor]) -> None:
    streamed = Streamed(photos_of(paths), CPU)
    Path(paths[int(order[2][5])]).unlink()
    first = next(number for number, rows in enumerate(order) if order[2][5] in rows)
    taken = streamed.take(order)
    for _ in range(first):
        next(taken)
    with pytest.raises(DatasetInvalid, match=Path(paths[int(order[2][5])]).name):
        next(taken)


def test_a_job_whose_photos_do_not_fit_into_memory_ends_in_a_model(
    settings: Settings, db: Database, store: LocalStore, claimed: Callable[..., Claim], job_of: Callable[[str], Job]
) -> None:
    for name in ("cat", "dog"):
        write_photos(settings.resolved_datasets_dir / "pets" / name, 12)
    little = settings.model_copy(update={"dataset_bytes": 1, "decode_processes": 1, "train_threads": 1})
    claim = claimed(
        dataset="pets", network="squeezenet1_1", weights="random", image_size=64, epochs=2, batch_size=8, device="cpu"
    )
    trainer.run(little, db, store, Reporter(db, claim, 1.0))
    job = job_of(claim.job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert job.timing["data_wait_s"] > 0
    with db.read() as session:
        told = [event.data["message"] for event in events.after(session, claim.job_id, 0, 100, "log")]
        assert job.model_id is not None
        card = models.find(session, job.model_id).card
    assert any("decoded anew for every epoch" in message for message in told)
    assert any(message.startswith("photos of 64 x 64 pixels, image_fit crop: 0% of") for message in told)
    assert {name: card["preparation"][name] for name in ("image_fit", "height", "width", "image_size")} == {
        "image_fit": "crop",
        "height": 64,
        "width": 64,
        "image_size": 64,
    }
    assert card["recipe"]["image_fit"] == "crop"
