"""service.inference.decode_pool: large images in processes that have bounds and can be killed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from core.errors import NotAnImage, Overloaded, TooLarge
from core.imaging.decoding import decode
from core.imaging.preparation import Preparation, Prepared, prepare
from core.settings import Settings
from service.inference.decode_pool import DecodePool, MemoryBudget
from tests.support.fakes import DIGIT_PREPARATION, until
from tests.support.imagefiles import file_of, photo, seven

PHOTO = Preparation(
    style="photo", image_fit="crop", height=224, width=224, channels=3, image_size=224, mean=(0.5,) * 3, std=(0.5,) * 3
)
LARGE = file_of(photo(1300, 1000), compress_level=1)
TIMEOUT_S = 3.0  # of an image whose process stands still; others take milliseconds


@pytest.fixture
async def pool(settings: Settings) -> AsyncIterator[DecodePool]:
    one = DecodePool(settings.model_copy(update={"image_processes": 1, "image_timeout_s": TIMEOUT_S}))
    yield one
    await one.close()
    assert one.pids == []


async def ask(pool: DecodePool, data: bytes = LARGE) -> Prepared:
    return await pool.prepare(data, PHOTO, "auto")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_process_answers_as_a_thread_does_and_goes_on_after_an_error(pool: DecodePool) -> None:
    assert pool.pids == []  # none before it is needed
    for data, preparation in ((LARGE, PHOTO), (file_of(seven().resize((1200, 1200))), DIGIT_PREPARATION)):
        here, there = prepare(decode(data, 10**8), preparation), await pool.prepare(data, preparation, "auto")
        np.testing.assert_array_equal(there.pixels, here.pixels)
        assert (there.preprocessing, there.blank) == (here.preprocessing, here.blank)
        with pytest.raises(NotAnImage, match="cannot be read"):
            await pool.prepare(data[: len(data) // 2], preparation, "auto")
    with pytest.raises(TooLarge, match="50000000 pixels"):
        await ask(pool, file_of(Image.new("1", (10_000, 5_001))))
    assert len(pool.pids) == 1


async def test_a_damaged_file_that_lacks_no_pixels_is_answered(pool: DecodePool) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "ab" * 2**20, zip=True)
    picture = seven().resize((300, 300))
    whole = await ask(pool, file_of(picture))
    for data in (file_of(picture, pnginfo=text), file_of(picture, icc_profile=bytes(2**21))):
        np.testing.assert_array_equal((await ask(pool, data)).pixels, whole.pixels)
    assert (await ask(pool, file_of(picture, "JPEG")[:-2])).pixels.shape == (224, 224, 3)


async def test_an_image_that_takes_too_long_is_given_up_with_its_process_and_the_next_is_answered(
    pool: DecodePool,
) -> None:
    await ask(pool)
    (stuck,) = pool.pids
    os.kill(stuck, signal.SIGSTOP)
    with pytest.raises(TooLarge, match="longer than 3 s"):
        await ask(pool)
    assert not is_alive(stuck)
    assert (await ask(pool)).pixels.shape == (224, 224, 3)


async def test_a_request_that_is_given_up_ends_its_process_and_the_next_is_answered(pool: DecodePool) -> None:
    await ask(pool)
    (stuck,) = pool.pids
    os.kill(stuck, signal.SIGSTOP)
    asked = asyncio.create_task(ask(pool))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not is_alive(stuck)
    assert (await ask(pool)).pixels.shape == (224, 224, 3)


async def test_a_process_that_was_killed_is_replaced_without_an_error(pool: DecodePool) -> None:
    await ask(pool)
    (killed,) = pool.pids
    os.kill(killed, signal.SIGKILL)
    assert (await ask(pool)).pixels.shape == (224, 224, 3)
    assert killed not in pool.pids


async def test_the_processes_end_with_the_service(settings: Settings) -> None:
    pool = DecodePool(settings)
    await asyncio.gather(ask(pool), ask(pool))
    pids = pool.pids
    assert len(pids) == settings.image_processes == 2
    await pool.close()
    assert not any(map(is_alive, pids))


async def test_who_waits_too_long_for_a_process_is_told_to_come_again(settings: Settings) -> None:
    pool = DecodePool(settings.model_copy(update={"image_processes": 1}), max_wait_s=0.0)
    first, second = await asyncio.gather(ask(pool), ask(pool), return_exceptions=True)
    assert isinstance(first, Prepared)
    assert isinstance(second, Overloaded)
    await pool.close()


async def test_an_image_that_needs_more_than_the_budget_is_refused_before_it_is_decoded(settings: Settings) -> None:
    pool = DecodePool(settings.model_copy(update={"image_memory_bytes": 1300 * 1000 * 4 - 1}))
    with pytest.raises(TooLarge, match="takes 5200000 bytes to decode; at most 5199999"):
        await ask(pool)
    smaller = file_of(seven().resize((1000, 1000)), "TIFF")
    np.testing.assert_array_equal((await ask(pool, smaller)).pixels, prepare(decode(smaller, 10**7), PHOTO).pixels)
    assert len(pool.pids) == 1
    await pool.close()


async def test_images_that_are_decoded_at_a_time_share_one_budget() -> None:
    budget, taken = MemoryBudget(10), list[int]()

    async def take(needed: int, release: asyncio.Event) -> None:
        async with budget.take(needed):
            taken.append(needed)
            await release.wait()
        taken.remove(needed)

    first_ends, second_ends = asyncio.Event(), asyncio.Event()
    first, second = asyncio.create_task(take(7, first_ends)), asyncio.create_task(take(6, second_ends))
    await until(lambda: taken == [7])
    first_ends.set()
    await until(lambda: taken == [6])
    given_up = asyncio.create_task(take(5, second_ends))
    await asyncio.sleep(0)
    given_up.cancel()
    second_ends.set()
    await asyncio.gather(first, second)
    async with asyncio.timeout(10), budget.take(10):
        pass
