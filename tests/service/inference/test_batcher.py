"""service.inference.batcher: waiting images -> batches -> answers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from core.errors import NotReady, Overloaded
from core.inference.onnx_predictor import Images, Outputs
from service.inference.batcher import Answer, Batcher
from tests.support.fakes import FakePredictor, image_of, until


@pytest.fixture
def device() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, "device") as executor:
        yield executor


@contextlib.asynccontextmanager
async def running(device: ThreadPoolExecutor, batch: int = 8, queue: int = 100) -> AsyncIterator[Batcher]:
    batcher = Batcher(device, batch, queue)
    task = asyncio.create_task(batcher.run())
    try:
        yield batcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Held(FakePredictor):
    """Works until it is released, and tells that it has begun."""

    def __init__(self, model_id: str = "model_fake_1") -> None:
        super().__init__(model_id)
        self.released.clear()
        self.begun = 0

    def run(self, images: Images, with_features: bool = False) -> Outputs:
        self.begun += 1
        return super().run(images)


def labels(answers: list[Answer]) -> list[int]:
    return [int(answer.probabilities.argmax()) for answer in answers]


async def start(batcher: Batcher, predictor: FakePredictor, *digits: int) -> asyncio.Task[list[Answer]]:
    """A request that waits now."""
    task = asyncio.create_task(batcher.submit(predictor, [image_of(digit) for digit in digits]))
    await asyncio.sleep(0)
    return task


async def test_answers_come_in_the_order_of_the_images(device: ThreadPoolExecutor) -> None:
    predictor = FakePredictor()
    async with running(device, batch=3) as batcher:
        answers = await batcher.submit(predictor, [image_of(digit) for digit in (7, 1, 9, 0, 4)])
    assert labels(answers) == [7, 1, 9, 0, 4]
    assert all(answer.predictor is predictor for answer in answers)
    assert all(answer.queued_ms >= 0 and answer.batch.inference_ms >= 0 for answer in answers)
    assert [answer.batch.images for answer in answers] == [3, 3, 3, 2, 2]
    assert len({answer.batch for answer in answers}) == 2


async def test_what_comes_while_the_device_works_is_the_next_batch(device: ThreadPoolExecutor) -> None:
    predictor = Held()
    async with running(device) as batcher:
        requests = [await start(batcher, predictor, 0)]
        await until(lambda: predictor.begun == 1)
        requests += [await start(batcher, predictor, digit) for digit in (1, 2, 3)]
        predictor.released.set()
        assert [labels(await request) for request in requests] == [[0], [1], [2], [3]]
    assert predictor.batches == [1, 3]


async def test_a_predictor_with_two_lanes_works_on_two_batches_that_share_what_waits() -> None:
    predictor, slow = Held(), Held("model_slow")
    predictor.max_concurrent_batches = 2
    with ThreadPoolExecutor(2, "device") as device:
        async with running(device) as batcher:
            requests = [await start(batcher, predictor, 0, 1, 2, 3, 4)]
            await until(lambda: predictor.begun == 2)
            requests += [await start(batcher, slow, 5), await start(batcher, predictor, 6)]
            predictor.released.set()
            slow.released.set()
            assert [labels(await request) for request in requests] == [[0, 1, 2, 3, 4], [5], [6]]
    assert (sorted(predictor.batches), slow.batches) == ([1, 2, 3], [1])


async def test_no_batch_is_larger_than_the_limit(device: ThreadPoolExecutor) -> None:
    predictor = FakePredictor()
    async with running(device, batch=4) as batcher:
        await batcher.submit(predictor, [image_of(1)] * 10)
    assert predictor.batches == [4, 4, 2]


async def test_one_image_too_many_is_refused_and_takes_no_place(device: ThreadPoolExecutor) -> None:
    predictor = Held()
    async with running(device, queue=3) as batcher:
        first = await start(batcher, predictor, 0)
        await until(lambda: predictor.begun == 1)  # it waits no longer
        waiting = await start(batcher, predictor, 1, 2)
        with pytest.raises(Overloaded, match="2 images"):
            await batcher.submit(predictor, [image_of(3)] * 2)
        last = await start(batcher, predictor, 3)
        predictor.released.set()
        assert [labels(await task) for task in (first, waiting, last)] == [[0], [1, 2], [3]]


async def test_images_of_clients_that_left_are_not_computed(device: ThreadPoolExecutor) -> None:
    predictor = Held()
    async with running(device) as batcher:
        first = await start(batcher, predictor, 0)
        await until(lambda: predictor.begun == 1)
        left, stays = await start(batcher, predictor, 1, 2, 3), await start(batcher, predictor, 4)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        predictor.released.set()
        assert [labels(await first), labels(await stays)] == [[0], [4]]
    assert predictor.batches == [1, 1]


async def test_a_client_that_leaves_during_its_batch_harms_nobody(device: ThreadPoolExecutor) -> None:
    predictor = Held()
    async with running(device) as batcher:
        left = await start(batcher, predictor, 0)
        await until(lambda: predictor.begun == 1)
        left.cancel()
        predictor.released.set()
        assert labels(await batcher.submit(predictor, [image_of(5)])) == [5]


async def test_an_error_of_the_device_reaches_who_waits_and_the_next_batch_works(device: ThreadPoolExecutor) -> None:
    predictor = Held()
    predictor.error = RuntimeError("device lost")
    async with running(device) as batcher:
        requests = [await start(batcher, predictor, 0), await start(batcher, predictor, 1, 2)]
        predictor.released.set()
        for request in requests:
            with pytest.raises(RuntimeError, match="device lost"):
                await request
        predictor.error = None
        assert labels(await batcher.submit(predictor, [image_of(6)])) == [6]


async def test_a_swap_in_between_keeps_each_image_with_its_predictor(device: ThreadPoolExecutor) -> None:
    old, new = Held("model_old"), FakePredictor("model_new")
    async with running(device) as batcher:
        requests = [await start(batcher, old, 0)]
        await until(lambda: old.begun == 1)
        requests += [await start(batcher, old, 1), await start(batcher, new, 2), await start(batcher, old, 3)]
        old.released.set()
        answers = [(await request)[0] for request in requests]
    assert [answer.predictor.model.id for answer in answers] == ["model_old", "model_old", "model_new", "model_old"]
    assert (old.batches, new.batches) == ([1, 2], [1])  # those of one predictor go together


async def test_the_end_is_told_to_who_still_waits(device: ThreadPoolExecutor) -> None:
    predictor = Held()
    async with running(device) as batcher:
        in_work = await start(batcher, predictor, 0)
        await until(lambda: predictor.begun == 1)
        waiting = await start(batcher, predictor, 1)
    predictor.released.set()
    for request in (in_work, waiting):
        with pytest.raises(NotReady, match="stopping"):
            await request


async def test_every_answer_is_that_of_its_own_image_under_load(device: ThreadPoolExecutor) -> None:
    predictor, chance = FakePredictor(), np.random.default_rng(0)
    wanted = [chance.integers(0, 10, size=chance.integers(1, 6)).tolist() for _ in range(40)]
    async with running(device, batch=7, queue=1000) as batcher:
        requests = [await start(batcher, predictor, *digits) for digits in wanted]
        assert [labels(await request) for request in requests] == wanted
    assert max(predictor.batches) <= 7
