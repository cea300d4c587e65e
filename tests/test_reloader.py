"""service.reloader: the served model is the one that its alias names, or the last one that could be loaded."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from core.db import Database
from core.errors import NotReady
from core.tables import Alias, Model
from service.predictor import Predictor
from service.reloader import Load, Reloader
from tests.conftest import NOW
from tests.fakes import FakePredictor, until

Published = Callable[..., Model]


class Loader:
    """Loads what it is not told to refuse."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.refused: set[str] = set()

    def __call__(self, model: Model) -> Predictor:
        self.loaded.append(model.id)
        if model.id in self.refused:
            raise RuntimeError("no such operator")
        return FakePredictor(model.id, model.version)


@pytest.fixture
def make(db: Database) -> Iterator[Callable[[Load], Reloader]]:
    with ThreadPoolExecutor(1, "load") as executor:
        yield lambda load: Reloader(db, load, executor, poll_s=0.01)


Make = Callable[[Load], Reloader]


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


async def test_moving_the_alias_back_is_a_rollback(make: Make, published: Published, db: Database) -> None:
    older, _ = published(), published()
    reloader = make(Loader())
    await reloader.check()
    with db.write() as session:
        session.merge(Alias(name="serving", model_id=older.id, updated_at=NOW))
    await reloader.check()
    assert reloader.current.model.id == older.id


async def test_the_old_model_answers_while_the_new_one_loads(make: Make, published: Published) -> None:
    old = published()
    load = Loader()
    reloader = make(load)
    await reloader.check()
    new = FakePredictor("slow")
    new.released.clear()

    def slow(model: Model) -> Predictor:
        load.loaded.append(model.id)
        assert new.released.wait(10)
        return FakePredictor(model.id)

    reloader._load = slow
    newer = published()
    checking = asyncio.create_task(reloader.check())
    await until(lambda: newer.id in load.loaded)
    assert reloader.current.model.id == old.id
    new.released.set()
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
    assert reloader.failure is not None
    assert broken.id in reloader.failure
    assert "no such operator" in reloader.failure


async def test_a_good_model_after_a_broken_one_clears_the_failure(make: Make, published: Published) -> None:
    broken, load = published(), Loader()
    load.refused.add(broken.id)
    reloader = make(load)
    await reloader.check()
    with pytest.raises(NotReady, match="no such operator"):
        _ = reloader.current
    good = published()
    await reloader.check()
    assert (reloader.current.model.id, reloader.failure) == (good.id, None)


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
    await until(lambda: load.loaded == [model.id] and reloader._current is not None)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert reloader.current.model.id == model.id
