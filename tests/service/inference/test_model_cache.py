"""service.inference.model_cache: each model is loaded once; unused ones make room."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.db.tables import Model
from core.errors import NotReady
from service.inference.model_cache import RETRY_S, Loaded, ModelCache, memory_bytes
from tests.support.fakes import DIGIT_PREPARATION, FakePredictor, until

MIB = 2**20
PREPARATION = DIGIT_PREPARATION.model_dump(mode="json")


def model(number: int, mib: int = 10) -> Model:
    """Make a model whose file is a third of its memory.

    That is near enough.
    """
    files = {"model.onnx": {"size_bytes": mib * MIB // 4}, "report.json": {"size_bytes": 1}}
    card = {"files": files, "preparation": PREPARATION, "serving": {"file": "model.onnx"}}
    return Model(id=f"model_{number}", version=number, job_id=f"job_{number}", key=f"models/{number}", card=card)


class Loader:
    """Counts; waits where it is held; refuses what it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.refused: set[str] = set()
        self.released = threading.Event()
        self.released.set()

    def __call__(self, model: Model) -> Loaded:
        self.begun.append(model.id)
        assert self.released.wait(10)
        if model.id in self.refused:
            raise RuntimeError("no such operator")
        self.ended.append(model.id)
        return Loaded(FakePredictor(model.id), "passed")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Iterator[Callable[..., ModelCache]]:
    with ThreadPoolExecutor(2, "load") as executor:
        yield lambda load, mib=25, **options: ModelCache(load, executor, mib * MIB, batch=1, clock=clock, **options)


Make = Callable[..., ModelCache]


async def get(cache: ModelCache, *numbers: int) -> None:
    for number in numbers:
        assert (await cache.get(model(number))).predictor.model.id == f"model_{number}"


async def test_requests_that_come_while_a_model_loads_wait_for_the_same_load(make: Make) -> None:
    load = Loader()
    cache = make(load)
    load.released.clear()
    asked = [asyncio.create_task(cache.get(model(1))) for _ in range(5)]
    await until(lambda: load.begun == ["model_1"])
    load.released.set()
    assert len({id(loaded) for loaded in await asyncio.gather(*asked)}) == 1
    await get(cache, 1)
    assert load.begun == ["model_1"]


async def test_one_who_leaves_does_not_end_the_load_of_the_others(make: Make) -> None:
    load = Loader()
    cache = make(load)
    load.released.clear()
    leaves, stays = (asyncio.create_task(cache.get(model(1))) for _ in range(2))
    await until(lambda: load.begun == ["model_1"])
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    load.released.set()
    assert (await stays).predictor.model.id == "model_1"


async def test_the_event_loop_goes_on_while_a_model_loads(make: Make) -> None:
    load = Loader()
    load.released.clear()
    loading = asyncio.create_task(make(load).get(model(1)))
    await until(lambda: load.begun == ["model_1"])  # the loop turns, or this would never be seen
    assert not loading.done()
    load.released.set()
    await loading


async def test_the_least_recently_used_one_makes_room(make: Make) -> None:
    load = Loader()
    cache = make(load)
    await get(cache, 1, 2, 1, 3)  # two fit
    assert cache.count == 2
    await get(cache, 1, 3, 2)
    assert load.begun == ["model_1", "model_2", "model_3", "model_2"]


async def test_the_one_that_serves_is_never_dropped(make: Make) -> None:
    load = Loader()
    cache = make(load)
    await get(cache, 1)
    cache.pin("model_1")
    await get(cache, 2, 3, 4, 1)
    assert load.begun == ["model_1", "model_2", "model_3", "model_4"]


async def test_the_one_that_served_before_is_the_last_to_go(make: Make) -> None:
    load = Loader()
    cache = make(load, mib=35)
    await get(cache, 1)
    cache.pin("model_1")
    await get(cache, 3, 2)
    cache.pin("model_2")
    await get(cache, 4, 1)  # room for three: model_3 went
    assert load.begun == ["model_1", "model_3", "model_2", "model_4"]


async def test_what_never_fits_beside_the_one_that_serves_is_refused_and_drops_nothing(make: Make) -> None:
    load = Loader()
    cache = make(load)
    await get(cache, 1, 2)
    cache.pin("model_1")
    with pytest.raises(NotReady, match=r"about 20 MiB .* TUNESERVE_PREDICT_MEMORY_BYTES allows 25 MiB"):
        await cache.get(model(3, mib=20))
    assert (load.begun, cache.count) == (["model_1", "model_2"], 2)


async def test_what_is_to_serve_is_loaded_whatever_its_size(make: Make) -> None:
    cache = make(Loader())
    await get(cache, 1)
    cache.pin("model_1")
    loaded = await cache.get(model(2, mib=99), to_serve=True)
    cache.pin("model_2")
    assert (loaded.predictor.model.id, cache.count) == ("model_2", 1)


async def test_what_is_to_serve_does_not_wait_for_a_load_on_demand(make: Make) -> None:
    load = Loader()
    cache = make(load)
    load.released.clear()
    asked = [asyncio.create_task(cache.get(model(number))) for number in (1, 2)]
    await until(lambda: load.begun == ["model_1"])
    asked.append(asyncio.create_task(cache.get(model(3), to_serve=True)))
    await until(lambda: load.begun == ["model_1", "model_3"])  # model_2 waits for model_1
    load.released.set()
    await asyncio.gather(*asked)
    assert load.begun == ["model_1", "model_3", "model_2"]


async def test_a_refused_model_says_why_is_counted_and_leaves_the_others(make: Make) -> None:
    load, failures = Loader(), []
    cache = make(load, on_failure=lambda: failures.append(1))
    load.refused.add("model_1")
    for _ in range(3):
        with pytest.raises(NotReady, match="model_1 cannot be loaded: no such operator"):
            await cache.get(model(1))
    await get(cache, 2, 3)
    assert (load.begun, len(failures), cache.count) == (["model_1", "model_2", "model_3"], 1, 2)


async def test_a_refused_model_is_tried_again_later_and_at_once_when_it_is_to_serve(make: Make, clock: Clock) -> None:
    load = Loader()
    cache = make(load)
    load.refused.add("model_1")
    for to_serve in (False, True):
        with pytest.raises(NotReady):
            await cache.get(model(1), to_serve)
    assert load.begun == ["model_1"] * 2
    load.refused.clear()
    clock.now = RETRY_S
    await get(cache, 1)


async def test_a_dropped_model_is_loaded_anew_and_its_place_is_free(make: Make) -> None:
    load = Loader()
    cache = make(load)
    await get(cache, 1, 2)
    cache.drop("model_1")
    cache.drop("model_unknown")
    await get(cache, 3, 2, 1)
    assert load.begun == ["model_1", "model_2", "model_3", "model_1"]


async def test_many_models_asked_for_at_once_stay_within_the_budget(make: Make) -> None:
    load = Loader()
    cache = make(load)
    answers = await asyncio.gather(*(cache.get(model(number % 4)) for number in range(40)))
    assert [loaded.predictor.model.id for loaded in answers] == [f"model_{number % 4}" for number in range(40)]
    assert sorted(load.begun) == ["model_0", "model_1", "model_2", "model_3"]
    assert cache.count == 2


async def test_a_load_at_the_end_of_the_service_is_let_go(make: Make) -> None:
    load = Loader()
    cache = make(load)
    load.released.clear()
    asked = asyncio.create_task(cache.get(model(1)))
    await until(lambda: load.begun == ["model_1"])
    cache.close()
    with pytest.raises(asyncio.CancelledError):
        await asked
    load.released.set()


@pytest.mark.parametrize(
    ("graph", "file_mib", "side", "measured_mib"),
    [
        ("model.onnx", 92, 32, 367),
        ("model.onnx", 90, 224, 467),
        ("model.onnx", 44, 32, 225),
        ("model.onnx", 9, 224, 366),
        ("int8.onnx", 25, 32, 104),
        ("int8.onnx", 26, 64, 124),
        ("int8.onnx", 23, 224, 242),
    ],
)
def test_the_estimate_is_near_what_was_measured(graph: str, file_mib: int, side: int, measured_mib: int) -> None:
    card = {
        "files": {graph: {"size_bytes": file_mib * MIB}, "weights.safetensors": {"size_bytes": 95 * MIB}},
        "preparation": PREPARATION | {"image_size": side},
        "serving": {"file": graph},
    }
    assert memory_bytes(Model(card=card), batch=32) / MIB == pytest.approx(measured_mib, rel=0.35)
