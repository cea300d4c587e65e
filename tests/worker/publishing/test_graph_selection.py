"""worker.publishing.graph_selection: int8 serves where it is as right and faster.

The record says why.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from core.imaging.preparation import Preparation
from core.inference.network import Prepare, build
from tests.support.fakes import tiny_onnx
from worker.data.splits import Split
from worker.ood.fitting import ABSTAINED, SampleOutputs, fit, look_at_sample
from worker.publishing import graph_selection
from worker.publishing.graph_selection import (
    GraphChoice,
    choose,
    graph_engine,
    latencies,
    network_engine,
    serve,
    session,
)
from worker.publishing.onnx_export import export
from worker.publishing.quantization import NotQuantized, quantize

Choose = Callable[..., GraphChoice]
SLOW, FAST = {"1": 4.0, "8": 20.0}, {"1": 2.0, "8": 9.0}


@cache
def quantized(graph: bytes, pixels: bytes, shape: tuple[int, ...], exact: float) -> bytes:
    return quantize(graph, np.frombuffer(pixels, np.uint8).reshape(shape), exact)


@pytest.fixture(autouse=True)
def _each_graph_is_quantised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a process of its own, and most tests choose between the same two graphs."""
    monkeypatch.setattr(
        graph_selection,
        "quantize",
        lambda graph, images, exact: quantized(graph, images.tobytes(), images.shape, exact),
    )


@pytest.fixture
def part(digit_weights: npt.NDArray[np.float32]) -> Split:
    """Noisy copies of the ten digits that the tiny graph tells apart."""
    digits = (digit_weights.T / digit_weights.max(0)[:, None] * 200).reshape(10, 28, 28, 1)
    noise = np.random.default_rng(0).normal(0, 20, (30, *digits.shape))
    images = (digits + noise).clip(0, 255).astype(np.uint8).reshape(300, 28, 28, 1)
    return Split(torch.from_numpy(images), torch.arange(300) % 10)


@pytest.fixture
def graph(digit_weights: npt.NDArray[np.float32]) -> bytes:
    return tiny_onnx(digit_weights)


def logits_of(graph: bytes, part: Split) -> Tensor:
    (logits,) = session(graph).run(["logits"], {"images": part.some(range(len(part))).numpy()})
    return torch.from_numpy(logits)


def outputs_of(graph: bytes, part: Split) -> SampleOutputs:
    return SampleOutputs(part, logits_of(graph, part), None)


@pytest.fixture
def chosen(graph: bytes, part: Split, monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Choose a graph for given latencies.

    Nothing else is pretended.
    """

    def make(
        fp32: dict[str, float] = SLOW, int8: dict[str, float] = FAST, validation: SampleOutputs | None = None
    ) -> GraphChoice:
        times = {"fp32": fp32, "int8": int8}
        monkeypatch.setattr(graph_selection, "latencies", lambda graphs, _: {name: times[name] for name in graphs})
        return choose(graph, outputs_of(graph, part), validation or outputs_of(graph, part))

    return make


def test_int8_serves_where_it_is_as_right_and_faster(chosen: Choose, graph: bytes, part: Split) -> None:
    made = chosen()
    assert made.is_int8
    assert made.graph != graph
    assert (made.record["file"], made.record["precision"]) == ("int8.onnx", "int8")
    assert made.record["checked"]["images"] == 500
    assert made.record["checked"]["int8"] == pytest.approx(made.record["checked"]["network"], abs=0.001)
    assert made.record["checked"]["same_answer"] == pytest.approx(1, abs=0.001)
    assert logits_of(made.graph, part).argmax(1).eq(part.labels).float().mean() == 1
    assert made.record["latency_ms"] == {"fp32": SLOW, "int8": FAST}


def outputs_wrong_on(count: int, graph: bytes, part: Split) -> SampleOutputs:
    """Outputs of a better network than the graph: it is right on ``count`` images more."""
    better, labels = logits_of(graph, part), part.labels.clone()
    labels[:count] = (labels[:count] + 1) % 10  # the graph, and so int8 too, is wrong there
    better[range(count), labels[:count]] = better[range(count), part.labels[:count]] + 0.01
    return SampleOutputs(Split(part.images, labels), better, None)


def test_it_does_not_where_it_is_less_right_than_the_network(chosen: Choose, graph: bytes, part: Split) -> None:
    """Nor does it with layers in fp32, if these are less right too."""
    made = chosen(validation=outputs_wrong_on(20, graph, part))
    assert made.graph == graph
    assert (made.record["precision"], made.record["checked"]["only_fp32_right"]) == ("fp32", 20)
    counts = (
        "of 500 validation and training images 480 get the same answer, 20 only fp32 answers rightly and 0 only int8 "
        "(chance: 9.5e-07), and the probabilities shift by"
    )
    assert [reason.rpartition(" ")[0] for reason in made.record["reason"].split("; ")] == [
        f"{form} is less accurate: {counts}"
        for form in ("int8", "int8 with 10% of its values in fp32", "int8 with 30% of its values in fp32")
    ]


def test_one_image_of_few_does_not_decide(chosen: Choose, graph: bytes, part: Split) -> None:
    wrong = outputs_wrong_on(1, graph, Split(part.some(range(110)), part.labels[:110]))
    made = chosen(validation=wrong)
    assert made.is_int8
    assert made.record["checked"]["only_fp32_right"] == 1
    assert "int8 is as accurate, and faster: of 410 validation and training images 409 get" in made.record["reason"]


def test_a_graph_whose_weights_are_wrecked_is_refused(
    chosen: Choose, digit_weights: npt.NDArray[np.float32], graph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def wreck(_graph: bytes, _images: object, exact: float) -> bytes:
        asked.append(exact)
        return tiny_onnx(np.ascontiguousarray(digit_weights[:, ::-1]))

    monkeypatch.setattr(graph_selection, "quantize", wreck)
    made = chosen()
    assert made.graph == graph
    assert made.record["reason"].startswith("int8 is less accurate: of 500 validation and training images 0 get")
    assert asked == [0, 0.1, 0.3]


def test_layers_stay_in_fp32_where_int8_alone_is_less_right(
    chosen: Choose, digit_weights: npt.NDArray[np.float32], graph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrecked, mended = tiny_onnx(np.ascontiguousarray(digit_weights[:, ::-1])), tiny_onnx(digit_weights * 1.01)
    monkeypatch.setattr(graph_selection, "quantize", lambda _graph, _images, exact: mended if exact else wrecked)
    made = chosen()
    assert (made.graph, made.is_int8) == (mended, True)
    first, second = made.record["reason"].split("; ")
    assert first.startswith("int8 is less accurate")
    assert second.startswith("int8 with 10% of its values in fp32 is as accurate, and faster")


@pytest.mark.parametrize("int8", [SLOW, {"1": 2.0, "8": 20.0}, {"1": 3.9, "8": 9.0}])
def test_it_does_not_where_it_is_no_faster_for_one_image_or_for_many(
    chosen: Choose, graph: bytes, int8: dict[str, float]
) -> None:
    """No image is asked for then."""
    made = chosen(int8=int8)
    assert made.graph == graph
    assert "checked" not in made.record
    assert (made.record["file"], made.record["reason"]) == ("model.onnx", "int8 is no faster here")


def test_it_does_not_where_it_cannot_be_made(chosen: Choose, graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise NotQuantized("quantising ended with exit code 1: a reason")

    monkeypatch.setattr(graph_selection, "quantize", fail)
    made = chosen()
    assert (made.graph, made.record["latency_ms"]) == (graph, {"fp32": SLOW})
    assert made.record["reason"] == "quantising ended with exit code 1: a reason"


def first(graph: bytes, part: Split, count: int) -> SampleOutputs:
    few = Split(part.some(range(count)), part.labels[:count])
    return outputs_of(graph, few) if count else SampleOutputs(few, torch.zeros(0, 10), None)


@pytest.mark.parametrize(
    ("validation", "train", "judges"), [(100, 300, 400), (99, 300, 399), (300, 300, 500), (0, 100, 100)]
)
def test_validation_and_training_images_judge_together(
    graph: bytes, part: Split, validation: int, train: int, judges: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_selection, "latencies", lambda graphs, _: dict(zip(graphs, (SLOW, FAST), strict=True)))
    made = choose(graph, first(graph, part, train), first(graph, part, validation))
    assert made.record["checked"]["images"] == judges


def test_few_images_cannot_tell(graph: bytes, part: Split) -> None:
    few = first(graph, part, 20)
    assert choose(graph, few, few).record["reason"] == "40 images are too few to judge an int8 graph by"


@pytest.mark.parametrize("in_int8", [True, False])
def test_an_int8_graph_has_a_threshold_of_its_own(
    digit_weights: npt.NDArray[np.float32], part: Split, in_int8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny graph's score is a hundredth of the mean pixel."""
    graph = tiny_onnx(digit_weights, scored=True)
    times = {"fp32": SLOW, "int8": FAST if in_int8 else SLOW}
    monkeypatch.setattr(graph_selection, "latencies", lambda graphs, _: {name: times[name] for name in graphs})
    made = choose(graph, outputs_of(graph, part), outputs_of(graph, part))
    if not in_int8:
        assert (made.threshold, made.validation_scores) == (1.0, None)
        return
    scores = part.some(range(300)).double().mean((1, 2, 3)) / 100
    assert made.threshold == pytest.approx(scores.quantile(1 - ABSTAINED).item(), rel=0.01)
    assert made.record["ood_threshold"] == made.threshold
    assert made.validation_scores is not None
    torch.testing.assert_close(made.validation_scores.double(), scores, rtol=0.01, atol=0)


# -- engines


@pytest.mark.parametrize("strange", [True, False])
def test_a_graph_answers_every_image_of_a_part_in_its_order(
    digit_weights: npt.NDArray[np.float32], part: Split, strange: bool
) -> None:
    graph = tiny_onnx(digit_weights, strange)
    served = serve(graph_engine(session(graph)), part)
    assert torch.equal(served.answers.logits, logits_of(graph, part))
    assert torch.equal(served.answers.labels, part.labels)
    if strange:
        assert served.ood_scores is not None
        torch.testing.assert_close(served.ood_scores, part.some(range(300)).float().mean((1, 2, 3)) / 100)
    else:
        assert served.ood_scores is None


def test_the_network_answers_as_its_graph_does(part: Split) -> None:
    torch.manual_seed(0)
    preparation = Preparation(
        style="digit", height=28, width=28, channels=1, image_size=32, mean=(0.1, 0.1, 0.1), std=(0.3, 0.3, 0.3)
    )
    network = build("mobilenet_v3_small", 10, 32).eval()
    few = part.sample(40)
    outputs = look_at_sample(network, Prepare(preparation), few, 10)
    ood_scorer = fit(outputs, outputs).ood_scorer
    assert ood_scorer is not None
    exported = export(network, preparation, few.some(range(8)), ood_scorer)
    by_network = serve(network_engine(preparation, network, ood_scorer), few)
    by_graph = serve(graph_engine(session(exported.onnx)), few)
    torch.testing.assert_close(by_network.answers.logits, by_graph.answers.logits, rtol=1e-3, atol=1e-3)
    assert by_network.ood_scores is not None
    assert by_graph.ood_scores is not None
    torch.testing.assert_close(by_network.ood_scores, by_graph.ood_scores, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(by_network.answers.logits, outputs.logits, rtol=1e-3, atol=1e-3)
    assert isinstance([*network.modules()][-1], nn.Linear)  # its head is still there


def test_latencies_are_told_for_each_batch_and_graph(graph: bytes, part: Split) -> None:
    table = latencies({"one": session(graph), "other": session(graph)}, part.some([0]).numpy())
    assert [list(times) for times in table.values()] == [["1", "8", "32"]] * 2
    assert all(time > 0 for times in table.values() for time in times.values())


def test_batches_that_would_take_too_long_are_not_timed(
    graph: bytes, part: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_selection, "_timed", lambda *_: 0.6)
    table = latencies({"one": session(graph)}, part.some([0]).numpy())
    assert table == {"one": {"1": 600.0}}


def test_the_session_uses_as_many_threads_as_torch(graph: bytes) -> None:
    made = session(graph)
    assert isinstance(made, onnxruntime.InferenceSession)
    assert made.get_session_options().intra_op_num_threads == torch.get_num_threads()
