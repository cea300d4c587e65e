"""worker.attempt.batch_size_search: the largest batch that helps."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from core.recipes.recipe import ResolvedRecipe
from worker.attempt.batch_size_search import find_batch_size, max_batch_size, time_steps
from worker.data.splits import Split


def steps_taking(fixed_s: float, per_image_s: float, tried: list[int]) -> Callable[[int], float]:
    def seconds(size: int) -> float:
        tried.append(size)
        return fixed_s + size * per_image_s

    return seconds


def test_it_doubles_as_long_as_more_images_are_seen_in_a_second() -> None:
    tried: list[int] = []
    assert find_batch_size(steps_taking(0.1, 0.001, tried), 64, 65_536).batch_size == 1024
    assert tried == [64, 128, 256, 512, 1024, 2048]  # the last gave 4.9 % more


def test_it_stays_where_larger_is_no_faster() -> None:
    assert find_batch_size(steps_taking(0.0, 0.001, []), 64, 4096).batch_size == 64


def test_it_never_tries_more_than_allowed() -> None:
    tried: list[int] = []
    assert find_batch_size(steps_taking(1.0, 0.0, tried), 128, 600).batch_size == 512
    assert max(tried) == 512


def test_a_batch_that_does_not_fit_is_the_end_of_the_search() -> None:
    def seconds(size: int) -> float:
        if size > 256:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return 1.0

    assert find_batch_size(seconds, 64, 4096).batch_size == 256


def test_a_first_batch_that_does_not_fit_is_halved_until_one_does() -> None:
    tried: list[int] = []

    def seconds(size: int) -> float:
        tried.append(size)
        if size > 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return 1.0

    assert find_batch_size(seconds, 64, 4096).batch_size == 16
    assert tried == [64, 32, 16]


def test_where_nothing_fits_the_smallest_is_left_to_fail_with_its_reason() -> None:
    def seconds(size: int) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    assert find_batch_size(seconds, 64, 4096).batch_size == 2


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    def seconds(size: int) -> float:
        if size > 64:
            raise RuntimeError("shapes do not match")
        return 1.0

    with pytest.raises(RuntimeError, match="shapes"):
        find_batch_size(seconds, 64, 4096)


def test_enough_steps_are_left_to_learn_in() -> None:
    assert [max_batch_size(samples) for samples in (1_000, 55_000, 1_200_000)] == [5, 275, 512]


def test_the_tried_steps_are_real_and_leave_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    recipe = ResolvedRecipe(
        image_size=2, epochs=1, batch_size=4, learning_rate=0.1, augmentation="none", precision="fp32", device="cpu"
    )
    part = Split(torch.ones(3, 2, 2, 3, dtype=torch.uint8), torch.tensor([0, 1, 0]))

    class ToFloat(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.add(len(images))
            return images.float()

    sizes: set[int] = set()
    assert time_steps(network, ToFloat(), part, recipe, torch.device("cpu"))(8) > 0
    assert sizes == {8}  # more than there are: some are seen twice
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
