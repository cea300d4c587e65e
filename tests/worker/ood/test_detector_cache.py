"""worker.taught: a detector is taught once for the same images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from core.artifacts.store import LocalStore
from core.inference.ood_score import Detector
from core.settings import Settings
from worker import taught as module
from worker.data.datasets import load
from worker.data.splits import Part, split
from worker.ood import detector_training as teaching
from worker.ood import synthetic_outliers
from worker.taught import FILE, taught

Teach = Callable[..., Detector]
DIGITS = tuple("0123456789")


@pytest.fixture(autouse=True)
def times(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seed of each detector that is taught, for a moment."""
    monkeypatch.setattr(teaching, "STEPS", 2)
    monkeypatch.setattr(teaching, "OUTLIERS", 200)
    monkeypatch.setattr(teaching, "DRAWN", 50)
    given: list[int] = []

    def teach(train: Part, classes: Sequence[str], seed: int, precision: str) -> Detector:
        given.append(seed)
        return teaching.teach(train, classes, seed, precision)

    monkeypatch.setattr(module, "teach", teach)
    return given


@pytest.fixture
def part() -> Part:
    return split(load("digits", Settings()), None, 0.2, seed=0).train


@pytest.fixture
def ask(store: LocalStore, part: Part) -> Teach:
    def make(train: Part = part, classes: tuple[str, ...] = DIGITS, seed: int = 0, precision: str = "fp32") -> Detector:
        return taught(store, train, classes, seed, precision)

    return make


def same(one: Detector, other: Detector) -> bool:
    return all(torch.equal(values, other.state_dict()[name]) for name, values in one.state_dict().items())


def test_the_same_images_are_taught_once(ask: Teach, times: list[int]) -> None:
    first, second = ask(), ask()
    assert len(times) == 1
    assert same(first, second)
    assert not second.training


def test_whatever_it_depends_on_makes_another(ask: Teach, part: Part, times: list[int]) -> None:
    images = part.some(range(len(part)))
    brighter = images.clone()
    brighter[0, 0, 0] += 1
    ask()
    ask(seed=1)
    ask(precision="bf16")
    ask(classes=(*DIGITS[:9], "nine"))
    ask(train=Part(brighter, part.labels))
    ask(train=Part(images, part.labels.roll(1)))
    assert len(times) == 6


def test_another_way_of_teaching_makes_another(
    ask: Teach, times: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask()
    changed = tmp_path / "outliers.py"
    changed.write_bytes(Path(str(synthetic_outliers.__file__)).read_bytes() + b"\n")
    monkeypatch.setattr(synthetic_outliers, "__file__", str(changed))
    ask()
    assert len(times) == 2


def test_a_damaged_one_is_taught_again(ask: Teach, times: list[int], settings: Settings) -> None:
    first = ask()
    (file,) = settings.data_dir.glob(f"detectors/*/{FILE}")
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert same(ask(), first)
    assert same(ask(), first)
    assert len(times) == 2


def test_one_whose_writing_was_cut_is_taught_again(ask: Teach, times: list[int], settings: Settings) -> None:
    ask()
    (manifest,) = settings.data_dir.glob("detectors/*/manifest.json")
    manifest.unlink()
    ask()
    assert len(times) == 2
