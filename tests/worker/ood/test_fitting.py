"""worker.ood.fitting and core.inference.ood_score: a network's own images are familiar, others strange."""

import dataclasses

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from core.artifacts.manifest import from_tensors, to_tensors
from core.imaging.decoding import decode
from core.imaging.preparation import Preparation, prepare
from core.inference.network import Prepare, ServingGraph, build, from_arrays, take_head, to_arrays
from core.inference.ood_score import Detector, OodScorer, Scorer, load_ood_scorer
from core.settings import Settings
from tests.conftest import DIGIT_FILES
from worker.data.datasets import load
from worker.data.splits import Split, Splits, split
from worker.ood import detector_training as teaching
from worker.ood import nearest
from worker.ood.detector_training import train_detector
from worker.ood.fitting import ABSTAINED, Fitted, Seen, distance, fit, fit_seen, look_at_sample, shrinkage, threshold
from worker.ood.synthetic_outliers import KINDS
from worker.publishing.exported_network import OOD_SCORE_TOLERANCE
from worker.publishing.onnx_export import export
from worker.publishing.quantization import quantize

PREPARATION = Preparation(
    style="digit", height=28, width=28, channels=1, image_size=32, mean=(0.1, 0.1, 0.1), std=(0.3, 0.3, 0.3)
)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return split(load("digits", Settings()), None, 0.2, seed=0)


@pytest.fixture(scope="module")
def network(splits: Splits) -> nn.Sequential:
    """A tiny network that has learnt the real digits well enough."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU())
        made = nn.Sequential(body, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(288, 10))
        values, labels = Prepare(PREPARATION)(splits.train.some(range(len(splits.train)))), splits.train.labels
        optimizer = torch.optim.Adam(made.parameters(), 3e-3)
        for _ in range(5):
            for chosen in torch.split(torch.randperm(len(labels)), 64):
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(made(values[chosen]), labels[chosen]))
                optimizer.step()
    made.eval()
    return made


def fitted_on(network: nn.Module, splits: Splits, enlarged: bool = False, detector: Detector | None = None) -> Fitted:
    train, validation = (
        look_at_sample(network, Prepare(PREPARATION), part.sample(3_000), 10)
        for part in (splits.train, splits.validation)
    )
    return fit(train, validation, enlarged, detector)


@pytest.fixture(scope="module")
def ood_scorer(network: nn.Sequential, splits: Splits) -> OodScorer:
    fitted = fitted_on(network, splits).ood_scorer
    assert isinstance(fitted, OodScorer)
    return fitted


@pytest.fixture(scope="module")
def noise() -> Tensor:
    return torch.randint(0, 256, (100, 28, 28, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def detector(splits: Splits) -> Detector:
    """A detector that was trained for a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teaching, "STEPS", 80)
        patch.setattr(teaching, "OUTLIERS", 1_000)
        patch.setattr(teaching, "DRAWN_DIGITS", 200)
        return train_detector(splits.train, "0123456789", seed=0)


@pytest.fixture(scope="module")
def with_detector(network: nn.Sequential, splits: Splits, detector: Detector) -> OodScorer:
    fitted = fitted_on(network, splits, detector=detector)
    assert "detector" in fitted.record["method"]
    assert isinstance(fitted.ood_scorer, OodScorer)
    return fitted.ood_scorer


@pytest.fixture(scope="module")
def neighbours(network: nn.Sequential, splits: Splits) -> Scorer:
    """The score of photos, of the same network."""
    train, validation = (
        look_at_sample(network, Prepare(PREPARATION), part.sample(300), 10)
        for part in (splits.train, splits.validation)
    )
    fitted = nearest.fit(train, validation, frozen=False).ood_scorer
    assert fitted is not None
    return fitted


@pytest.fixture(scope="module")
def signs() -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return (KINDS["letters"][1](torch.zeros(200, 28, 28), torch.zeros(0)) * 255).byte()[..., None]


@torch.inference_mode()
def ood_score(network: nn.Sequential, ood_scorer: Scorer, images: Tensor) -> Tensor:
    whole = nn.Sequential(*network)  # of its own, since its head is taken; the weights are shared
    return torch.as_tensor(ServingGraph(PREPARATION, whole, ood_scorer)(images)[1])


def test_new_digits_are_familiar(network: nn.Sequential, ood_scorer: OodScorer, splits: Splits) -> None:
    digits = splits.test.some(range(len(splits.test)))
    assert (ood_score(network, ood_scorer, digits) > 1).double().mean() < 0.03


def test_people_s_sharper_digits_are_familiar_to_a_network_of_enlarged_ones(
    network: nn.Sequential, ood_scorer: OodScorer, splits: Splits, noise: Tensor
) -> None:
    drawn = [prepare(decode(file.read_bytes(), 10**6), PREPARATION).pixels for file in DIGIT_FILES]
    digits = torch.from_numpy(np.stack(drawn))
    without_texture = fitted_on(network, splits, enlarged=True).ood_scorer
    assert without_texture is not None
    assert (ood_score(network, without_texture, digits) > 1).sum() <= 1
    assert (ood_score(network, ood_scorer, digits) > 1).sum() >= 5
    assert (ood_score(network, without_texture, noise) > 1).double().mean() > 0.9


def test_noise_inverted_digits_and_digits_in_pieces_are_strange(
    network: nn.Sequential, ood_scorer: OodScorer, splits: Splits, noise: Tensor
) -> None:
    digits = splits.test.some(range(len(splits.test)))
    tiles = digits.reshape(-1, 4, 7, 4, 7, 1)
    pieces = tiles[:, [2, 0, 3, 1]][:, :, :, [1, 3, 0, 2]].reshape(digits.shape)
    for foreign, least in ((noise, 1.0), (255 - digits, 1.0), (pieces, 0.8)):
        assert (ood_score(network, ood_scorer, foreign) > 1).double().mean() >= least


def test_with_a_detector_signs_are_strange_and_new_digits_are_not(
    network: nn.Sequential, with_detector: OodScorer, splits: Splits, signs: Tensor
) -> None:
    digits = splits.test.some(range(len(splits.test)))
    assert (ood_score(network, with_detector, signs) > 1).double().mean() > 0.9
    assert (ood_score(network, with_detector, digits) > 1).double().mean() < 0.03


def test_with_a_detector_no_term_excuses_another(with_detector: OodScorer) -> None:
    one_sided = with_detector.usual + torch.tensor(
        [[0, 0, 0, 5.0], [0, -100, -100, 5.0]]
    ) / with_detector.weights.clamp_min(1e-6)
    first, second = with_detector.combine(one_sided)
    assert first == pytest.approx(5)
    assert first == second
    assert with_detector.combine(with_detector.usual[None]).item() == 0


def test_in_int8_a_detector_finds_the_same_strange(
    network: nn.Sequential, with_detector: OodScorer, splits: Splits, signs: Tensor
) -> None:
    graph = export(network, PREPARATION, splits.test.some(range(32)), with_detector).onnx
    int8 = quantize(graph, splits.train.some(range(64)).numpy())
    strange = (ood_score(network, with_detector, signs) > 1).numpy()
    (served,) = onnxruntime.InferenceSession(int8).run(["ood_score"], {"images": signs.numpy()})
    assert ((np.asarray(served) > 1) == strange).mean() > 0.95


def test_it_tells_what_it_was_fitted_on(network: nn.Sequential, splits: Splits) -> None:
    record = fitted_on(network, splits).record
    assert record["fitted_on"] == f"{len(splits.train)} training and {len(splits.validation)} validation images"
    assert record["threshold"] == 1.0


def test_its_validation_scores_are_those_of_the_served_network(
    network: nn.Sequential, ood_scorer: OodScorer, splits: Splits
) -> None:
    scores = fitted_on(network, splits).validation_scores
    assert scores is not None
    torch.testing.assert_close(
        scores,
        ood_score(network, ood_scorer, splits.validation.some(range(len(splits.validation)))),
        rtol=1e-3,
        atol=1e-3,
    )
    assert (scores > 1).double().mean() == pytest.approx(ABSTAINED, abs=0.01)


def test_the_network_stays_whole(network: nn.Sequential, ood_scorer: OodScorer) -> None:
    assert isinstance(network[-1], nn.Linear)


def test_with_hardly_any_validation_images_there_is_none(network: nn.Sequential, splits: Splits) -> None:
    few = Split(splits.validation.some(range(9)), splits.validation.labels[:9])
    fitted = fitted_on(network, dataclasses.replace(splits, validation=few))
    assert fitted.ood_scorer is None
    assert "9 validation images" in fitted.record["reason"]


def test_squeezenet_has_none_and_loses_nothing(splits: Splits) -> None:
    network = build("squeezenet1_1", 10)
    names = list(network.state_dict())
    assert "not linear" in fitted_on(network, splits).record["reason"]
    assert take_head(network) is None
    assert list(network.state_dict()) == names


@pytest.mark.parametrize("name", ["ood_scorer", "with_detector", "neighbours"])
def test_it_is_the_same_when_it_was_written_and_read(
    network: nn.Sequential, name: str, noise: Tensor, request: pytest.FixtureRequest
) -> None:
    fitted = request.getfixturevalue(name)
    again = load_ood_scorer(from_arrays(to_tensors(from_tensors(to_arrays(fitted)))))
    assert torch.equal(ood_score(network, again, noise), ood_score(network, fitted, noise))


@pytest.mark.parametrize("name", ["ood_scorer", "with_detector", "neighbours"])
def test_the_exported_graph_finds_the_same_strange(
    network: nn.Sequential, name: str, splits: Splits, noise: Tensor, request: pytest.FixtureRequest
) -> None:
    ood_scorer = request.getfixturevalue(name)
    exported = export(network, PREPARATION, splits.test.some(range(32)), ood_scorer)
    assert exported.parity.ood_score is not None
    assert exported.parity.ood_score < OOD_SCORE_TOLERANCE
    session = onnxruntime.InferenceSession(exported.onnx, providers=["CPUExecutionProvider"])
    (served,) = session.run(["ood_score"], {"images": noise.numpy()})
    torch.testing.assert_close(torch.from_numpy(served), ood_score(network, ood_scorer, noise), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("count", [10, 50, 199, 200, 5_000])
def test_few_of_those_that_come_later_lie_above_the_threshold(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    later = torch.randn(20_000, generator=generator)
    above = [(later > threshold(torch.randn(count, generator=generator))).double().mean().item() for _ in range(20)]
    assert sum(above) / len(above) < 2 * ABSTAINED


def seen(features: Tensor, labels: Tensor) -> Seen:
    return Seen(features[:, :3].repeat(1, 4), features, features[:, :2], labels)


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (torch.zeros(30, 5), torch.arange(30) % 2),  # all constant
        (torch.cat([torch.randn(30, 4), torch.ones(30, 2)], 1), torch.arange(30) % 2),  # some constant
        (torch.randn(12, 600), torch.arange(12) % 2),  # fewer images than features
        (torch.randn(30, 5), (torch.arange(30) == 7).long()),  # a class with one image
        (torch.randn(30, 5) * 1e4 + 1e6, torch.arange(30) % 2),  # far from zero
    ],
)
def test_degenerate_features_give_numbers(features: Tensor, labels: Tensor) -> None:
    fitted = fit_seen(seen(features, labels), seen(features + torch.randn_like(features) * 0.1, labels))
    assert all(value.isfinite().all() for value in fitted.state_dict().values())
    assert fitted.features(features + 1).isfinite().all()


def test_the_distance_is_mahalanobis_where_every_direction_has_its_spread() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(5_000, 4, generator=generator) * torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = distance(values, torch.zeros(5_000).long())(torch.tensor([[3.0, 0, 0, 0], [0, 0, 0, 4.0]])).exp() - 1
    torch.testing.assert_close(found, torch.tensor([9.0, 1.0]), rtol=0.15, atol=0.1)


def test_the_leading_axes_are_those_of_the_whole_decomposition() -> None:
    """The leading axes are those of the whole decomposition.

    The variances of features fall quickly, as those of a trained network do; the rest shares one.
    """
    torch.manual_seed(0)
    values = torch.randn(500, 300, dtype=torch.float64) * torch.linspace(0, -12, 300).exp()
    found = distance(values, torch.zeros(500).long(), axes=20)
    within = (values - values.mean(0)) / 500**0.5
    variances, share = torch.linalg.eigvalsh(within.T @ within).flip(0), shrinkage(within, 500)
    wanted = (1 - share) * variances + share * variances.mean()
    torch.testing.assert_close(found.get_buffer("deviations").double().square(), wanted[:20], rtol=0.01, atol=0)
    torch.testing.assert_close(found.get_buffer("rest").double().square(), wanted[20:].mean(), rtol=0.01, atol=0)


def test_a_sample_s_outputs_are_the_network_s_own(network: nn.Sequential, splits: Splits) -> None:
    found = look_at_sample(network, Prepare(PREPARATION), splits.train.sample(300), 10)
    assert len(found) == 300
    assert len(torch.bincount(found.part.labels)) == 10
    with torch.inference_mode():
        logits = network(Prepare(PREPARATION)(found.part.some(range(300))))
        assert found.features is not None
        torch.testing.assert_close(network[-1](found.features), logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1"])
def test_a_part_without_images_has_no_outputs(name: str, splits: Splits) -> None:
    nothing = Split(splits.train.some([]), splits.train.labels[:0]).sample(100)
    assert look_at_sample(build(name, 10, 32), Prepare(PREPARATION), nothing, 10).logits.shape == (0, 10)
