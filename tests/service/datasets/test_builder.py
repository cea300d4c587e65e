"""service.datasets.builder: a file that breaks its reader leaves no process.

The service answers, whatever the file does.
"""

import asyncio
import errno
import json
import sys
from pathlib import Path

import httpx
import pytest

from core import errors
from core.errors import InvalidInput, NoSpace, NotReady, TooLarge, UnusableDataset
from core.settings import Settings
from service.datasets import builder as module
from service.datasets.build_process import OUTCOME, Refusal
from service.datasets.builder import Builder
from service.datasets.extraction import Sent
from service.datasets.importer import Built
from tests import ROOT
from tests.support.datafiles import zipped
from tests.support.setfiles import pets

REAL, STUBBORN = module.MODULE, "tests.support.stubborn_build"
PATIENCE = 6000  # looks of 10 ms


@pytest.fixture(autouse=True)
def _a_parser_that_misbehaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MODULE", STUBBORN)


class Build:
    def __init__(self, settings: Settings, folder: Path, how: str) -> None:
        self.stopping = asyncio.Event()
        self.builder = Builder(settings, self.stopping)
        self._body, self._folder = folder / "body", folder / "built"
        self._body.write_text(how)

    async def run(self) -> Built:
        return await self.builder.build([Sent("", self._body)], self._folder)

    def log(self) -> list[tuple[str, int]]:
        """List what started and ended, each with its process id."""
        file = self._body.with_name("log")
        lines = file.read_text().splitlines() if file.exists() else []
        return [(what, int(pid)) for what, pid in map(str.split, lines)]

    async def started(self) -> int:
        for _ in range(PATIENCE):
            if log := self.log():
                return log[0][1]
            await asyncio.sleep(0.01)
        raise AssertionError("it never started")


def is_running(pid: int) -> bool:
    """Check whether a process runs.

    A process that is dead and not yet waited for does not.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> bool:
    for _ in range(PATIENCE):
        if not is_running(pid):
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize(
    ("how", "error", "reason"),
    [
        ("memory", TooLarge, "TUNESERVE_DATASET_BUILD_BYTES"),
        ("spin", TooLarge, "TUNESERVE_DATASET_BUILD_S"),
        ("crash", UnusableDataset, "SIGSEGV"),
        ("raise", RuntimeError, "exit code 1"),
    ],
)
async def test_a_reader_that_goes_too_far_is_ended_and_told(
    how: str, error: type[Exception], reason: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BASE_CPU_S", 5)
    build = Build(settings, tmp_path, how)
    with pytest.raises(error, match=reason):
        await build.run()
    assert not is_running(await build.started())


async def test_a_reader_that_sleeps_has_a_deadline(settings: Settings, tmp_path: Path) -> None:
    build = Build(settings.model_copy(update={"dataset_build_s": 3.0}), tmp_path, "sleep")
    with pytest.raises(TooLarge, match="TUNESERVE_DATASET_BUILD_S"):
        await build.run()
    assert all(what == "start" and not is_running(pid) for what, pid in build.log())


async def test_what_a_library_prints_is_no_part_of_the_outcome(settings: Settings, tmp_path: Path) -> None:
    assert (await Build(settings, tmp_path, "print").run()).digest == "digest"


async def test_a_build_that_is_cancelled_leaves_no_process(settings: Settings, tmp_path: Path) -> None:
    build = Build(settings, tmp_path, "sleep")
    running = asyncio.ensure_future(build.run())
    pid = await build.started()
    running.cancel()
    await asyncio.wait((running,))
    assert (running.cancelled(), is_running(pid), build.log()) == (True, False, [("start", pid)])


async def test_a_server_that_stops_waits_for_none(settings: Settings, tmp_path: Path) -> None:
    build = Build(settings, tmp_path, "sleep")
    running = asyncio.ensure_future(build.run())
    pid = await build.started()
    build.stopping.set()
    with pytest.raises(NotReady):
        await running
    assert (is_running(pid), build.log()) == (False, [("start", pid)])  # it did not end by itself


async def test_no_more_are_read_at_a_time_than_allowed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most = 0, 0

    async def run(*_: object) -> tuple[int, bytes]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return 0, OUTCOME.dump_json(Built("folders", {}, "digest", [], 0))

    monkeypatch.setattr(Builder, "_run", run)
    build = Build(settings.model_copy(update={"max_dataset_builds": 2}), tmp_path, "")
    await asyncio.gather(*(build.run() for _ in range(5)))
    assert most == 2


async def test_it_dies_with_the_service(settings: Settings, tmp_path: Path) -> None:
    build = Build(settings, tmp_path, "sleep")
    run = (
        "import asyncio, pathlib, sys\n"
        "from core.settings import Settings\n"
        "from service.datasets import builder\n"
        "from service.datasets.extraction import Sent\n"
        f"builder.MODULE, folder = '{STUBBORN}', pathlib.Path(sys.argv[1])\n"
        "async def main():\n"
        "    await builder.Builder(Settings(), asyncio.Event()).build([Sent('', folder / 'body')], folder / 'built')\n"
        "asyncio.run(main())\n"
    )
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", run, str(tmp_path), cwd=ROOT)
    try:
        pid = await build.started()
    finally:
        service.kill()
        await service.wait()
    assert await gone(pid)


async def test_a_client_that_leaves_ends_what_was_begun_for_it(live: str, tmp_path: Path, settings: Settings) -> None:
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post(
                f"{live}/datasets?name=pets",
                content=b"sleep",
                headers={"Content-Type": "application/zip"},
                timeout=httpx.Timeout(30, read=5.0),
            )
    for _ in range(PATIENCE):
        if not list(settings.dataset_files_dir.iterdir()):
            break
        await asyncio.sleep(0.01)
    assert list(settings.dataset_files_dir.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        UnusableDataset("This cannot be trained on.", [{"pointer": "a.png", "detail": "x", "code": "damaged"}]),
        InvalidInput("No archive.", "/file"),
        TooLarge("More."),
        NoSpace("Full."),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_the_same_on_the_other_side(error: errors.TuneserveError | OSError) -> None:
    told = OUTCOME.validate_json(OUTCOME.dump_json(Refusal.of(error)))
    assert isinstance(told, Refusal)
    again = told.to_exception()
    assert (type(again), str(again)) == (type(error), str(error))
    for field in ("problems", "pointer", "errno"):
        assert _plain(getattr(again, field, None)) == _plain(getattr(error, field, None))


def _plain(value: object) -> object:
    return json.loads(json.dumps(value))


async def test_the_real_one_builds_what_is_sent(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MODULE", REAL)
    build = Build(settings, tmp_path, "")
    (tmp_path / "body").write_bytes(zipped(pets("cat", "dog") | {"cat/notes.txt": b"meow"}))
    built = await build.run()
    assert (built.counts["cat"], [problem.file for problem in built.problems]) == (
        {"train": 3, "test": 0},
        ["cat/notes.txt"],
    )
