"""worker.training.batched_forward: every image is looked at once, whatever memory there is."""

import pytest
import torch
from torch import Tensor

from worker.data.splits import Split
from worker.evaluation.metrics import predict
from worker.training.batched_forward import MAX_BATCH_SIZE, look

COUNT = MAX_BATCH_SIZE + 44
IMAGES = torch.arange(COUNT).to(torch.uint8).view(-1, 1, 1, 1)
PART = Split(IMAGES, torch.zeros(COUNT, dtype=torch.int64))


class Memory:
    """A function that fails as a full GPU does.

    It does so when it is given more than ``room`` images.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return images


def test_there_are_no_more_at_a_time_than_fit() -> None:
    memory = Memory(room=50)
    seen = list(look(PART, memory))
    assert memory.sizes == [128, 64, 32, 32, 32, 32, 32, 12]
    assert torch.equal(torch.cat([images for _, images in seen]), IMAGES)
    assert [start for start, _ in seen] == [0, 32, 64, 96, 128, 160]


def test_memory_that_does_not_suffice_for_one_image_is_an_error() -> None:
    memory = Memory(room=0)
    with pytest.raises(torch.OutOfMemoryError):
        list(look(PART, memory))
    assert memory.sizes[-1] == 1


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    def broken(images: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        list(look(PART, broken))


def test_a_network_that_fits_a_few_images_alone_is_evaluated_all_the_same() -> None:
    class Picky(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return memory(images).flatten(1).float().expand(-1, 2)

    memory = Memory(room=10)
    answers = predict(Picky(), torch.nn.Identity(), PART, 2)
    assert answers.logits[:, 0].tolist() == IMAGES.flatten().tolist()
