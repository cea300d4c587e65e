"""worker.features: training behind kept activations is the same training, on less."""

from typing import Any

import pytest
import torch

from core.network import Prepare, build
from core.recipe import ResolvedRecipe
from tests.fakes import DIGIT_PREPARATION
from worker.data import Part
from worker.evaluate import evaluate
from worker.features import Work, keep_activations
from worker.freeze import freeze
from worker.train import fit

CPU = torch.device("cpu")
RECIPE = ResolvedRecipe(
    dataset="digits",
    image_size=32,
    epochs=2,
    batch_size=4,
    learning_rate=0.01,
    augmentation="none",
    freeze="backbone",
    precision="fp32",
    device="cpu",
)


def work(name: str = "resnet18", what: str = "backbone") -> Work:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(name, 10)
        frozen = freeze(network, what)
        images = torch.randint(0, 256, (12, 28, 28, 1), dtype=torch.uint8)
    train, validation = Part(images[:8], torch.arange(8)), Part(images[8:], torch.arange(4))
    return Work(network, Prepare(DIGIT_PREPARATION), train, validation, tuple(frozen))


def head(some: Work) -> torch.Tensor:
    return next(p for name, p in some.network.named_parameters() if name.endswith("fc.weight")).detach()


def run(some: Work, **recipe: Any) -> list[float]:
    how = RECIPE.model_copy(update=recipe)
    return [epoch.loss for epoch in fit(some.network, some.prepare, some.train, how, CPU, frozen=some.frozen)]


@pytest.mark.parametrize("what", ["backbone", "until:layer3"])
def test_it_is_the_same_training(what: str) -> None:
    whole, kept = work(what=what), keep_activations(work(what=what), 2**30)
    assert kept is not None
    assert run(kept) == pytest.approx(run(whole), rel=1e-4)
    torch.testing.assert_close(head(kept), head(whole), rtol=1e-3, atol=1e-5)


def test_the_rest_answers_for_the_whole_network() -> None:
    whole = work()
    kept = keep_activations(whole, 2**30)
    assert kept is not None
    seen, told = (evaluate(w.network, w.prepare, w.validation, 10) for w in (whole, kept))
    assert told.loss == pytest.approx(seen.loss, rel=1e-5)
    assert told.confusion == seen.confusion


def test_the_networks_own_head_is_what_is_trained() -> None:
    whole = work()
    before = head(whole).clone()
    kept = keep_activations(whole, 2**30)
    assert kept is not None
    run(kept)
    assert not torch.equal(head(whole), before)


def test_what_is_too_large_is_not_kept() -> None:
    bytes_needed = 512 * 4 * 12
    assert keep_activations(work(), bytes_needed) is not None
    assert keep_activations(work(), bytes_needed - 1) is None


def test_the_frozen_part_learns_nothing() -> None:
    whole = work()
    before = {name: tensor.clone() for name, tensor in whole.network.state_dict().items() if not name.startswith("fc")}
    run(whole)
    after = whole.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
