"""service.inference.model_reloader: an alias's model serves, or the last that loaded."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakSet

import pytest
from sqlalchemy import text

from core.db.database import Database
from core.db.tables import Model
from core.errors import NotFound, NotReady
from core.repositories.aliases import set_alias
from core.repositories.models import find
from service.inference.batcher import Batcher
from service.inference.model_cache import Load, Loaded, ModelCache, memory_bytes
from service.inference.model_reloader import ModelReloader
from tests.conftest import NOW
from tests.support.fakes import FakePredictor, image_of, until

Published = Callable[..., Model]


class Loader:
    """Loads what it is not told to refuse."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.refused: set[str] = set()

    def __call__(self, model: Model) -> Loaded:
        self.loaded.append(model.id)
        if model.id in self.refused:
            raise RuntimeError("no such operator")
        return Loaded(FakePredictor(model.id, model.version, model.name), "passed")


class Slow(Loader):
    """Loads at once until it is held; then when it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()
        self.released.set()

    def __call__(self, model: Model) -> Loaded:
        loaded = super().__call__(model)
        assert self.released.wait(10)
        return loaded


@pytest.fixture
def make(db: Database) -> Iterator[Callable[[Load], ModelReloader]]:
    with ThreadPoolExecutor(2, "load") as executor:
        yield lambda load: ModelReloader(db, ModelCache(load, executor, 2**30, batch=1), poll_s=0.01, now=lambda: NOW)


Make = Callable[[Load], ModelReloader]


@pytest.fixture
def point(db: Database) -> Callable[[str, float], None]:
    """Moves ``serving`` to a model, so many seconds from now."""

    def move(model_id: str, after: float) -> None:
        with db.write() as session:
            model = find(session, model_id)
            set_alias(session, model.name, "serving", model.version, NOW + after)

    return move


Point = Callable[[str, float], None]


async def test_without_a_model_nothing_is_ready(make: Make) -> None:
    reloader = make(Loader())
    await reloader.check()
    with pytest.raises(NotReady, match="POST /jobs"):
        _ = reloader.current


async def test_a_published_model_is_loaded_once(make: Make, published: Published) -> None:
    model, load = published(), Loader()
    reloader = make(load)
    await reloader.check()
    await reloader.check()
    assert reloader.current.model.id == model.id
    assert load.loaded == [model.id]


async def test_a_newer_model_takes_its_place(make: Make, published: Published) -> None:
    published()
    reloader = make(Loader())
    await reloader.check()
    newer = published()
    await reloader.check()
    assert (reloader.current.model.id, reloader.current.model.version) == (newer.id, 2)


async def test_a_rollback_finds_the_model_before_still_in_memory(
    make: Make, published: Published, point: Point
) -> None:
    older, load = published(), Loader()
    reloader = make(load)
    await reloader.check()
    newer = published()
    await reloader.check()
    point(older.id, 1)
    await reloader.check()
    assert reloader.current.model.id == older.id
    assert load.loaded == [older.id, newer.id]


async def test_a_rollback_during_a_load_is_never_interrupted_by_what_was_loaded(
    make: Make, published: Published, point: Point
) -> None:
    old, load = published(), Slow()
    reloader = make(load)
    await reloader.check()
    load.released.clear()
    newer = published()
    seen: list[str] = []
    reloader._swap = lambda served, loaded: seen.append(loaded.predictor.model.id)  # type: ignore[method-assign]
    checking = asyncio.create_task(reloader.check())
    await until(lambda: newer.id in load.loaded)
    point(old.id, 1)
    load.released.set()
    await checking
    assert seen == [old.id]


async def test_a_request_in_flight_ends_on_the_old_model_while_the_next_takes_the_new(
    make: Make, published: Published
) -> None:
    old, reloader = published(), make(Loader())
    await reloader.check()
    first = reloader.current
    assert isinstance(first, FakePredictor)
    first.released.clear()
    with ThreadPoolExecutor(1, "device") as device:
        batcher = Batcher(device, 8, 8)
        running = asyncio.create_task(batcher.run())
        in_flight = asyncio.create_task(batcher.submit(first, [image_of(1)]))
        new = published()
        await reloader.check()
        after = asyncio.create_task(batcher.submit(reloader.current, [image_of(2)]))
        first.released.set()
        answers = [*await in_flight, *await after]
        running.cancel()
    assert [answer.predictor.model.id for answer in answers] == [old.id, new.id]
    assert [int(answer.probabilities.argmax()) for answer in answers] == [1, 2]


async def test_the_old_model_answers_while_the_new_one_loads(make: Make, published: Published) -> None:
    old, load = published(), Slow()
    reloader = make(load)
    await reloader.check()
    load.released.clear()
    newer = published()
    checking = asyncio.create_task(reloader.check())
    await until(lambda: newer.id in load.loaded)
    assert reloader.current.model.id == old.id
    load.released.set()
    await checking
    assert reloader.current.model.id == newer.id


async def test_a_model_that_cannot_be_loaded_leaves_the_old_one_and_is_not_tried_again(
    make: Make, published: Published
) -> None:
    old, load = published(), Loader()
    reloader = make(load)
    await reloader.check()
    broken = published()
    load.refused.add(broken.id)
    await reloader.check()
    await reloader.check()
    assert reloader.current.model.id == old.id
    assert load.loaded == [old.id, broken.id]
    refusal = reloader.refusals["digits"]
    assert refusal.refused == broken.id
    assert broken.id in (refusal.failure or "")
    assert "no such operator" in (refusal.failure or "")


async def test_pointing_at_the_refused_model_again_tries_it_again(
    make: Make, published: Published, point: Point
) -> None:
    old, load = published(), Loader()
    reloader = make(load)
    await reloader.check()
    broken = published()
    load.refused.add(broken.id)
    await reloader.check()
    load.refused.clear()  # somebody mended what it needs
    point(broken.id, 1)
    await reloader.check()
    assert load.loaded == [old.id, broken.id, broken.id]
    assert (reloader.current.model.id, reloader.refusals) == (broken.id, {})


async def test_pointing_back_at_the_model_that_serves_ends_the_refusal(
    make: Make, published: Published, point: Point
) -> None:
    old, load = published(), Loader()
    reloader = make(load)
    await reloader.check()
    load.refused.add(published().id)
    await reloader.check()
    point(old.id, 1)
    await reloader.check()
    assert (reloader.current.model.id, reloader.refusals) == (old.id, {})


async def test_a_service_that_starts_with_a_refused_model_answers_with_the_one_that_served_before(
    make: Make, published: Published
) -> None:
    served = published()
    await make(Loader()).check()
    load, broken = Loader(), published()
    load.refused.add(broken.id)
    restarted = make(load)
    await restarted.check()
    assert restarted.current.model.id == served.id
    assert restarted.refusals["digits"].refused == broken.id


async def test_a_model_that_never_served_is_no_way_out(make: Make, published: Published) -> None:
    published(publish="manual")
    load, broken = Loader(), published()
    load.refused.add(broken.id)
    reloader = make(load)
    await reloader.check()
    assert not reloader.serves("model_1")
    assert load.loaded == [broken.id]


async def test_when_a_model_began_to_serve_is_written_down(make: Make, published: Published, db: Database) -> None:
    model = published()
    await make(Loader()).check()
    with db.read() as session:
        assert find(session, model.id).served_at == NOW


async def test_a_service_that_cannot_write_it_down_serves_all_the_same(
    make: Make, published: Published, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    model, reloader = published(), make(Loader())
    with db.write() as session:
        session.execute(text("CREATE TRIGGER fails BEFORE UPDATE ON models BEGIN SELECT * FROM away; END"))
    await reloader.check()
    assert reloader.serves(model.id)
    assert "could not be written down" in caplog.text


async def test_waking_it_is_sooner_than_its_next_look(published: Published, db: Database) -> None:
    with ThreadPoolExecutor(2, "load") as executor:
        reloader = ModelReloader(db, ModelCache(Loader(), executor, 2**30, batch=1), poll_s=3600)
        first = published()
        running = asyncio.create_task(reloader.run())
        await until(lambda: reloader.serves(first.id))
        second = published()
        reloader.wake()
        await until(lambda: reloader.serves(second.id))
        running.cancel()


async def test_a_good_model_after_a_broken_one_clears_the_failure(make: Make, published: Published) -> None:
    broken, load = published(), Loader()
    load.refused.add(broken.id)
    reloader = make(load)
    await reloader.check()
    with pytest.raises(NotReady, match="no such operator"):
        _ = reloader.current
    good = published()
    await reloader.check()
    assert (reloader.current.model.id, reloader.refusals) == (good.id, {})


async def test_it_looks_by_itself_and_outlives_a_database_that_does_not_answer(
    make: Make, published: Published, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    load = Loader()
    reloader = make(load)
    with db.write() as session:
        session.execute(text("ALTER TABLE aliases RENAME TO away"))
    running = asyncio.create_task(reloader.run())
    await until(lambda: "does not answer" in caplog.text)
    with db.write() as session:
        session.execute(text("ALTER TABLE away RENAME TO aliases"))
    model = published()
    await until(lambda: load.loaded == [model.id] and reloader.default is not None)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert reloader.current.model.id == model.id


async def test_a_model_that_no_longer_fits_leaves_memory(db: Database, published: Published) -> None:
    """A model that no longer fits leaves memory.

    It is seen by what is still alive: resident memory tells little of models as small as these.
    """
    alive: WeakSet[FakePredictor] = WeakSet()

    def load(model: Model) -> Loaded:
        predictor = FakePredictor(model.id, model.version)
        alive.add(predictor)
        return Loaded(predictor, "passed")

    newest = published()
    room_for_two = int(2.5 * memory_bytes(newest, 1))
    with ThreadPoolExecutor(2, "load") as executor:
        cache = ModelCache(load, executor, room_for_two, batch=1)
        reloader = ModelReloader(db, cache, poll_s=0.01, now=lambda: NOW)
        for _ in range(6):
            await reloader.check()
            newest = published()
        await reloader.check()
        gc.collect()
        assert sorted(predictor.model.version for predictor in alive) == [6, 7]


# -- several names


async def test_each_name_follows_its_own_alias(make: Make, published: Published, point: Point) -> None:
    digit, ant = published(), published(name="pets", at=NOW + 1)
    reloader = make(Loader())
    await reloader.check()
    assert reloader.default == "pets"
    assert reloader.current.model.id == ant.id
    assert (await reloader.named("digits")).model.id == digit.id
    newer = published(publish="manual")
    point(newer.id, 2)
    await reloader.check()
    assert (await reloader.named("digits")).model.id == newer.id
    assert (await reloader.named("pets")).model.id == reloader.current.model.id == ant.id


async def test_a_name_is_loaded_when_it_is_asked_for_and_once(make: Make, published: Published) -> None:
    digit, ant, load = published(), published(name="pets", at=NOW + 1), Slow()
    reloader = make(load)
    await reloader.check()
    assert load.loaded == [ant.id]
    load.released.clear()
    asked = [asyncio.create_task(reloader.named("digits")) for _ in range(5)]
    await until(lambda: digit.id in load.loaded)
    await reloader.check()  # forgets what is not in memory yet
    load.released.set()
    assert {(await one).model.id for one in asked} == {digit.id}
    assert load.loaded == [ant.id, digit.id]


async def test_a_name_of_nothing_is_not_found(make: Make, published: Published) -> None:
    published()
    reloader = make(Loader())
    with pytest.raises(NotFound, match="under the name cats"):
        await reloader.named("cats")


async def test_a_refused_version_of_another_name_leaves_its_old_one(make: Make, published: Published) -> None:
    old, _, load = published(), published(name="pets", at=NOW + 1), Loader()
    reloader = make(load)
    await reloader.check()
    await reloader.named("digits")
    broken = published(at=NOW - 1)
    load.refused.add(broken.id)
    await reloader.check()
    assert (await reloader.named("digits")).model.id == old.id
    assert reloader.refusals["digits"].refused == broken.id
    assert "pets" not in reloader.refusals


async def test_the_default_name_changes_once_its_model_is_there(make: Make, published: Published) -> None:
    digit, load = published(), Loader()
    reloader = make(load)
    await reloader.check()
    broken = published(name="pets", at=NOW + 1)
    load.refused.add(broken.id)
    await reloader.check()
    assert reloader.current.model.id == digit.id
    better = published(name="pets", at=NOW + 2)
    await reloader.check()
    assert reloader.current.model.id == better.id


async def test_names_that_do_not_fit_in_memory_take_turns(db: Database, published: Published) -> None:
    digit, ant, load = published(), published(name="pets", at=NOW + 1), Loader()
    bee = published(name="bees", publish="manual")
    with db.write() as session:
        set_alias(session, "bees", "serving", 1, NOW)
    room = 2 * memory_bytes(digit, 1) + 10
    with ThreadPoolExecutor(2, "load") as executor:
        reloader = ModelReloader(db, ModelCache(load, executor, room, batch=1), poll_s=0.01, now=lambda: NOW)
        await reloader.check()
        for name in ("digits", "bees", "digits"):
            assert (await reloader.named(name)).model.name == name
            await reloader.check()
            assert reloader.current.model.id == ant.id
    assert load.loaded == [ant.id, digit.id, bee.id, digit.id]


async def test_a_new_default_that_was_asked_for_when_memory_was_short_is_loaded_all_the_same(
    db: Database, published: Published
) -> None:
    digit, load = published(), Loader()
    room = memory_bytes(digit, 1) + 10  # for one
    with ThreadPoolExecutor(2, "load") as executor:
        reloader = ModelReloader(db, ModelCache(load, executor, room, batch=1), poll_s=0.01, now=lambda: NOW)
        await reloader.check()
        ant = published(name="pets", at=NOW + 1)
        with pytest.raises(NotReady, match="PREDICT_MEMORY_BYTES"):
            await reloader.named("pets")
        await reloader.check()
        assert reloader.current.model.id == ant.id


async def test_requests_do_not_load_a_refused_default_again_and_again(make: Make, published: Published) -> None:
    broken, load = published(), Loader()
    load.refused.add(broken.id)
    reloader = make(load)
    await reloader.check()
    for _ in range(3):
        with pytest.raises(NotReady, match="no such operator"):
            await reloader.named("digits")
    assert load.loaded == [broken.id]
