"""worker.attempt.feature_cache: training behind kept activations is the same training, on less."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.inference.network import Prepare, build
from core.recipes.recipe import ResolvedRecipe
from tests.support.fakes import DIGIT_PREPARATION
from tests.support.photofiles import photos_of, write_photos
from worker.attempt.feature_cache import Disk, cache_activations
from worker.attempt.setup import TrainingInput
from worker.data.photo_files import Photos
from worker.data.splits import Split
from worker.data.streaming import Streamed
from worker.evaluation.metrics import evaluate
from worker.ood.fitting import look_at_sample
from worker.training.fit import FitOptions, Interrupted, fit
from worker.training.freezing import freeze

CPU = torch.device("cpu")
BYTES = 512 * 4 * 12  # of resnet18's activations for twelve images
RECIPE = ResolvedRecipe(
    dataset="digits",
    image_size=32,
    epochs=2,
    batch_size=4,
    learning_rate=0.01,
    augmentation="none",
    freeze="backbone",
    precision="fp32",
    device="cpu",
)


def work(name: str = "resnet18", what: str = "backbone") -> TrainingInput:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(name, 10)
        frozen = freeze(network, what)
        images = torch.randint(0, 256, (12, 28, 28, 1), dtype=torch.uint8)
    train, validation = Split(images[:8], torch.arange(8)), Split(images[8:], torch.arange(4))
    return TrainingInput(network, Prepare(DIGIT_PREPARATION), train, validation, tuple(frozen))


def head(some: TrainingInput) -> torch.Tensor:
    return next(p for name, p in some.network.named_parameters() if name.endswith("fc.weight")).detach()


def run(some: TrainingInput, **recipe: Any) -> list[float]:
    how = RECIPE.model_copy(update=recipe)
    epochs = fit(some.network, some.prepare, some.train, how, CPU, FitOptions(frozen=some.frozen))
    return [epoch.loss for epoch in epochs]


@pytest.mark.parametrize("what", ["backbone", "until:layer3"])
def test_it_is_the_same_training(what: str) -> None:
    whole, kept = work(what=what), cache_activations(work(what=what), 2**30)
    assert kept is not None
    assert run(kept) == pytest.approx(run(whole), rel=1e-4)
    torch.testing.assert_close(head(kept), head(whole), rtol=1e-3, atol=1e-5)


def test_the_rest_answers_for_the_whole_network() -> None:
    whole = work()
    kept = cache_activations(whole, 2**30)
    assert kept is not None
    seen, told = (evaluate(w.network, w.prepare, w.validation, 10) for w in (whole, kept))
    assert told.loss == pytest.approx(seen.loss, rel=1e-5)
    assert told.confusion_matrix == seen.confusion_matrix


def test_a_sample_of_the_kept_features_has_the_networks_outputs() -> None:
    whole = work()
    kept = cache_activations(whole, 2**30)
    assert kept is not None
    seen, told = (look_at_sample(w.network, w.prepare, w.train.sample(5), 10) for w in (whole, kept))
    assert seen.features is not None
    assert told.features is not None
    torch.testing.assert_close(told.features, seen.features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(told.logits, seen.logits, rtol=1e-4, atol=1e-5)
    assert torch.equal(told.part.labels, seen.part.labels)


def test_the_networks_own_head_is_what_is_trained() -> None:
    whole = work()
    before = head(whole).clone()
    kept = cache_activations(whole, 2**30)
    assert kept is not None
    run(kept)
    assert not torch.equal(head(whole), before)


def test_it_says_how_far_it_is_and_can_be_ended() -> None:
    told: list[tuple[int, int]] = []
    cache_activations(work(), BYTES, on_images=lambda done, of: told.append((done, of)))
    assert told == [(8, 12), (12, 12)]

    def enough(done: int, of: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        cache_activations(work(), BYTES, on_images=enough)


def test_what_is_too_large_is_not_kept() -> None:
    assert cache_activations(work(), BYTES) is not None
    assert cache_activations(work(), BYTES - 1) is None


def test_what_is_too_large_for_the_memory_is_kept_on_the_disk(tmp_path: Path) -> None:
    in_memory = cache_activations(work(), BYTES)
    on_disk = cache_activations(work(), BYTES - 1, Disk(tmp_path, BYTES))
    assert in_memory is not None
    assert on_disk is not None
    assert run(on_disk) == run(in_memory)
    assert torch.equal(head(on_disk), head(in_memory))
    for kept, there in ((on_disk.train, in_memory.train), (on_disk.validation, in_memory.validation)):
        assert torch.equal(kept.some(range(len(kept))), there.some(range(len(there))))


def test_the_activations_are_in_a_file_that_has_no_name(tmp_path: Path) -> None:
    kept = cache_activations(work(), 0, Disk(tmp_path, BYTES))
    assert kept is not None
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    assert len(mapped) == 1
    assert mapped[0].endswith("(deleted)")
    assert list(tmp_path.iterdir()) == []


def test_what_is_too_large_for_both_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_activations(work(), BYTES - 1, Disk(tmp_path, BYTES - 1)) is None
    free = shutil.disk_usage(tmp_path)._replace(free=2 * BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: free)
    assert cache_activations(work(), BYTES - 1, Disk(tmp_path, 2**40)) is None


def test_a_disk_without_the_room_says_so_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"File too large|No space left"):
        Disk(tmp_path, 2**60).empty((2**58,), torch.float32)


def photo_work(photos: Photos, streamed: bool) -> TrainingInput:
    side = photos.shape[1]
    preparation = DIGIT_PREPARATION.model_copy(update={"style": "photo", "height": side, "width": side, "channels": 3})

    def part(chosen: Photos) -> Split:
        images, rows = Streamed(chosen, CPU), torch.arange(len(chosen))
        return Split(images if streamed else images.some(rows), rows)

    whole = work("squeezenet1_1")
    return replace(whole, prepare=Prepare(preparation), train=part(photos[:8]), validation=part(photos[8:]))


def test_the_activations_of_streamed_photos_are_kept_too(tmp_path: Path) -> None:
    photos = photos_of(write_photos(tmp_path, 12), processes=2)
    kept = cache_activations(photo_work(photos, streamed=True), 0, Disk(tmp_path, 2**30))
    there = cache_activations(photo_work(photos, streamed=False), 2**30)
    assert kept is not None
    assert there is not None
    assert torch.equal(kept.train.some(range(8)), there.train.some(range(8)))
    assert torch.equal(kept.validation.some(range(4)), there.validation.some(range(4)))


def test_the_frozen_part_learns_nothing() -> None:
    whole = work()
    before = {name: tensor.clone() for name, tensor in whole.network.state_dict().items() if not name.startswith("fc")}
    run(whole)
    after = whole.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
