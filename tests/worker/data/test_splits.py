"""worker.data.splits: training and validation images, and the order of epochs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import worker.data.splits
from core.imaging.preparation import PHOTO_SIDE, Preparation
from core.inference.network import Prepare
from core.recipes.recipe import ResolvedRecipe
from core.settings import Settings
from tests.support.photofiles import write_photos
from worker.data.datasets import load
from worker.data.datasets.dataset import Dataset
from worker.data.splits import (
    MAX_VALIDATION,
    Split,
    Splits,
    batches,
    in_order,
    split,
    statistics,
    steps_per_epoch,
    to_device,
)
from worker.data.streaming import OnHost, Streamed
from worker.training.fit import fit

CPU = torch.device("cpu")


def dataset(count: int = 200, classes: int = 4, side: int = 2) -> Dataset:
    """Make a data set whose images are their own numbers.

    So each training image can be told where it went; labels take turns.
    """
    numbers = np.arange(count, dtype=np.uint32).view(np.uint8).reshape(count, 1, 4, 1)
    return Dataset(
        name="numbers",
        style="plain",
        detail=2,
        classes=tuple("abcd"[:classes]),
        train_images=numbers,
        train_labels=np.arange(count) % classes,
        test_images=numbers[:side],
        test_labels=np.zeros(side, np.int64),
    )


def numbers(part: Split) -> list[int]:
    images = part.some(range(len(part))).numpy()
    return np.ascontiguousarray(images).reshape(-1, 4).view(np.uint32).ravel().tolist()


def test_held_back_images_are_never_trained_on() -> None:
    splits = split(dataset(), None, 0.25, seed=0)
    assert (len(splits.train), len(splits.validation)) == (150, 50)
    assert sorted(numbers(splits.train) + numbers(splits.validation)) == list(range(200))


def test_every_image_keeps_its_label() -> None:
    for part in (split(dataset(), 40, 0.1, seed=3).train, split(dataset(), None, 0.1, seed=3).validation):
        assert part.labels.tolist() == [number % 4 for number in numbers(part)]


def test_the_test_part_is_the_data_sets_own() -> None:
    data = dataset()
    test = split(data, 8, 0.5, seed=1).test
    np.testing.assert_array_equal(test.some(range(len(test))).numpy(), data.test_images)
    assert test.labels.tolist() == data.test_labels.tolist()


def test_validation_and_subset_have_every_class_alike() -> None:
    splits = split(dataset(), 40, 0.1, seed=0)
    assert torch.bincount(splits.validation.labels).tolist() == [5] * 4
    assert torch.bincount(splits.train.labels).tolist() == [10] * 4


def uneven(*counts: int) -> Dataset:
    """Make a data set with that many images of each class."""
    data = dataset(sum(counts), classes=len(counts))
    data.train_labels[:] = np.repeat(np.arange(len(counts)), counts)
    return data


def test_a_rare_class_is_held_back_no_more_than_the_others() -> None:
    splits = split(uneven(1000, 10), None, 0.1, seed=0)
    assert torch.bincount(splits.validation.labels).tolist() == [100, 1]
    assert torch.bincount(splits.train.labels).tolist() == [900, 9]


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_some_image_of_every_class_is_trained_on(fraction: float) -> None:
    splits = split(uneven(97, 2, 1), None, fraction, seed=0)
    assert torch.bincount(splits.train.labels).min() == 1
    assert len(splits.validation) == round(100 * fraction)


def test_what_cannot_be_divided_is_not_held_back() -> None:
    assert len(split(uneven(1, 1, 2), None, 0.5, seed=0).validation) == 1


def test_a_class_with_few_images_gives_all_it_has() -> None:
    data = dataset(100, classes=2)
    data.train_labels[:] = 0
    data.train_labels[:3] = 1
    assert torch.bincount(split(data, 20, 0.0, seed=0).train.labels).tolist() == [17, 3]


def test_a_subset_has_as_many_images_as_asked_for_if_there_are_so_many() -> None:
    assert len(split(dataset(), 7, 0.1, seed=0).train) == 7
    assert len(split(dataset(), 10_000, 0.1, seed=0).train) == 180


def test_without_a_validation_part_all_is_trained_on() -> None:
    splits = split(dataset(), None, 0.0, seed=0)
    assert (len(splits.train), len(splits.validation)) == (200, 0)


def test_a_large_set_holds_back_no_more_than_is_needed() -> None:
    assert len(split(dataset(20_000), None, 0.5, seed=0).validation) == MAX_VALIDATION


def test_the_same_seed_gives_the_same_images_and_another_gives_others() -> None:
    def chosen(seed: int) -> Splits:
        return split(dataset(), 40, 0.1, seed)

    assert numbers(chosen(5).train) == numbers(chosen(5).train)
    assert numbers(chosen(5).validation) == numbers(chosen(5).validation)
    assert set(numbers(chosen(5).train)) != set(numbers(chosen(6).train))


def test_an_epoch_sees_every_image_at_most_once_with_its_label() -> None:
    part = split(dataset(), None, 0.0, seed=0).train
    seen: list[int] = []
    for images, labels in batches(part, 32, seed=0, epoch=0):
        batch = numbers(Split(images, labels))
        assert labels.tolist() == [number % 4 for number in batch]
        seen += batch
    assert len(seen) == len(set(seen)) == 192  # six whole batches; eight images wait for another epoch


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    part = split(dataset(), None, 0.0, seed=0).train

    def order(seed: int, epoch: int) -> list[int]:
        torch.rand(1)  # what others draw does not matter
        return [number for batch in batches(part, 50, seed, epoch) for number in numbers(Split(*batch))]

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (1, 2)}) == 4


@pytest.mark.parametrize(("samples", "batch_size", "steps"), [(64, 64, 1), (127, 64, 1), (128, 64, 2), (10, 64, 1)])
def test_an_epoch_has_whole_batches_and_one_at_least(samples: int, batch_size: int, steps: int) -> None:
    part = split(dataset(samples), None, 0.0, seed=0).train
    assert steps_per_epoch(samples, batch_size) == steps
    assert [len(labels) for _, labels in batches(part, batch_size, 0, 0)] == [min(samples, batch_size)] * steps


@pytest.mark.parametrize("batch_size", [7, 50, 1000])
def test_in_order_every_image_comes_once_with_its_label(batch_size: int) -> None:
    part = split(dataset(), None, 0.0, seed=0).train
    walked = list(in_order(part, batch_size))
    assert torch.cat([labels for _, labels in walked]).tolist() == part.labels.tolist()
    assert [number for batch in walked for number in numbers(Split(*batch))] == numbers(part)
    assert max(len(labels) for _, labels in walked) == min(batch_size, 200)


def test_a_part_without_images_has_no_batches() -> None:
    assert list(in_order(split(dataset(), None, 0.0, seed=0).validation, 10)) == []


def test_statistics_are_those_of_the_values_from_0_to_1() -> None:
    images = torch.randint(0, 256, (20, 5, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    values = images.double().flatten(0, 2) / 255
    mean, std = statistics(images)
    assert mean == pytest.approx(values.mean(0).tolist())
    assert std == pytest.approx(values.std(0, correction=0).tolist())


def test_a_grey_image_counts_as_three_equal_channels() -> None:
    mean, std = statistics(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
    assert mean == (0.5, 0.5, 0.5)
    assert std == (0.5, 0.5, 0.5)


def test_images_that_are_all_alike_can_still_be_divided_by() -> None:
    _, std = statistics(torch.full((3, 2, 2, 1), 7, dtype=torch.uint8))
    assert min(std) > 0


def test_a_part_moves_to_a_device_whole() -> None:
    part = to_device(split(dataset(), None, 0.0, seed=0).train, torch.device("meta"))
    assert isinstance(part.images, Tensor)
    assert (part.images.device.type, part.labels.device.type, len(part)) == ("meta", "meta", 200)


def test_what_is_too_large_for_the_device_stays_on_the_host_and_is_seen_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    part = split(dataset(), None, 0.0, seed=0).train
    monkeypatch.setattr(worker.data.splits, "_room", lambda _device: 799)
    moved = to_device(part, CPU)
    assert isinstance(moved.images, OnHost)
    for (images, labels), (others, other_labels) in zip(batches(part, 32, 1, 2), batches(moved, 32, 1, 2), strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)
    assert statistics(moved.images) == statistics(part.images)


# -- images that stay in their files


@pytest.fixture(scope="module")
def resident_and_streamed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Splits, Splits]:
    """Splits of a folder, read with and without enough memory."""
    folder = tmp_path_factory.mktemp("datasets")
    for name in ("cat", "dog"):
        write_photos(folder / "pets" / name, 30)
    plenty = Settings(datasets_dir=folder, decode_processes=2)
    little = plenty.model_copy(update={"dataset_bytes": 60 * PHOTO_SIDE**2 * 3 - 1})
    resident, streamed = (split(load("pets", settings), 40, 0.1, seed=3) for settings in (plenty, little))
    return resident, streamed


def test_a_streamed_split_is_the_one_in_memory(resident_and_streamed: tuple[Splits, Splits]) -> None:
    resident, streamed = resident_and_streamed
    for name in ("train", "validation", "test"):
        there, here = getattr(resident, name), getattr(streamed, name)
        assert isinstance(there.images, Tensor)
        assert isinstance(here.images, Streamed)
        assert torch.equal(there.labels, here.labels)
        assert torch.equal(there.images, here.some(range(len(here))))
        assert statistics(there.images) == statistics(here.images)


def trained(part: Split) -> tuple[dict[str, Tensor], list[float]]:
    """Train a small network with chance in it for two epochs."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(), nn.LazyLinear(2)
    )
    mean, std = statistics(part.images)
    prepare = Prepare(
        Preparation(
            style="photo", image_fit="crop", height=224, width=224, channels=3, image_size=32, mean=mean, std=std
        )
    )
    network(prepare(part.some([0, 1])))
    recipe = ResolvedRecipe(
        dataset="pets",
        image_size=32,
        epochs=2,
        batch_size=12,
        learning_rate=0.05,
        augmentation="none",
        precision="fp32",
        device="cpu",
    )
    epochs = list(fit(network, prepare, to_device(part, CPU), recipe, CPU))
    return network.state_dict(), [epoch.loss for epoch in epochs]


def test_training_on_a_stream_ends_in_the_same_bits(resident_and_streamed: tuple[Splits, Splits]) -> None:
    (weights, losses), (others, other_losses) = (trained(splits.train) for splits in resident_and_streamed)
    assert losses == other_losses
    assert losses[0] != losses[1]
    assert [name for name, tensor in weights.items() if not torch.equal(tensor, others[name])] == []


def test_a_sample_of_classes_leaves_out_no_rare_class_and_knows_its_images_numbers() -> None:
    data = dataset(1000, classes=2)
    data.train_labels[:] = np.arange(1000) < 3
    data = replace(data, train_numbers=np.arange(1000) + 5000)
    whole = split(data, None, 0.0, seed=0).train
    for part, ones in ((whole.sample_of_classes(20), 3), (whole.sample_of_classes(2000), 3), (whole.sample(500), None)):
        assert part.numbers is not None
        assert part.numbers.tolist() == [number + 5000 for number in numbers(part)]
        assert ones is None or part.labels.sum() == ones
    assert len(whole.sample_of_classes(20)) == 20
