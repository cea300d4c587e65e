"""worker.publishing.graph_selection: int8 serves where it is as right and faster, and the record says why."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch

from tests.support.fakes import tiny_onnx
from worker.data.splits import Part
from worker.evaluation.metrics import Answers
from worker.publishing import graph_selection
from worker.publishing.graph_selection import choose, latencies, session
from worker.publishing.quantization import NotQuantized

Choose = Callable[..., graph_selection.Serving]
SLOW, FAST = {"1": 4.0, "8": 20.0}, {"1": 2.0, "8": 9.0}


@pytest.fixture
def part(digit_weights: npt.NDArray[np.float32]) -> Part:
    """Noisy copies of the ten digits that the tiny graph tells apart."""
    digits = (digit_weights.T / digit_weights.max(0)[:, None] * 200).reshape(10, 28, 28, 1)
    noise = np.random.default_rng(0).normal(0, 20, (30, *digits.shape))
    images = (digits + noise).clip(0, 255).astype(np.uint8).reshape(300, 28, 28, 1)
    return Part(torch.from_numpy(images), torch.arange(300) % 10)


@pytest.fixture
def graph(digit_weights: npt.NDArray[np.float32]) -> bytes:
    return tiny_onnx(digit_weights)


def answers_of(graph: bytes, part: Part) -> Answers:
    (logits,) = session(graph).run(["logits"], {"images": part.some(range(len(part))).numpy()})
    return Answers(torch.from_numpy(logits), part.labels)


@pytest.fixture
def chosen(graph: bytes, part: Part, monkeypatch: pytest.MonkeyPatch) -> Choose:
    """What is chosen when each graph takes so long; nothing else is pretended."""

    def make(
        fp32: dict[str, float] = SLOW, int8: dict[str, float] = FAST, answers: Answers | None = None
    ) -> graph_selection.Serving:
        times = {"fp32": fp32, "int8": int8}
        monkeypatch.setattr(graph_selection, "latencies", lambda graphs, _: {name: times[name] for name in graphs})
        return choose(graph, part, part, answers or answers_of(graph, part), flop_per_image=1e4)

    return make


def test_int8_serves_where_it_is_as_right_and_faster(chosen: Choose, part: Part) -> None:
    made = chosen()
    assert made.graph is not None
    assert (made.record["file"], made.record["precision"]) == ("int8.onnx", "int8")
    assert made.record["checked"]["images"] == 300
    assert made.record["checked"]["int8"] == pytest.approx(made.record["checked"]["network"], abs=0.001)
    assert made.record["checked"]["same_answer"] == {"int8": pytest.approx(1, abs=0.001)}
    assert torch.equal(made.tested.answers.logits, answers_of(made.graph, part).logits)
    assert answers_of(made.graph, part).logits.argmax(1).eq(part.labels).float().mean() == 1
    assert made.record["latency_ms"] == {"fp32": SLOW, "int8": FAST}


def test_it_does_not_where_it_is_less_right_than_the_network(chosen: Choose, graph: bytes, part: Part) -> None:
    right = answers_of(graph, part)
    part.labels[:3] = (part.labels[:3] + 1) % 10  # three images on which the graph, and so int8 too, is wrong
    better = right.logits.clone()
    better[range(3), part.labels[:3]] = 1e3
    made = chosen(answers=Answers(better, part.labels))
    assert made.graph is None
    assert made.record["checked"]["same_answer"] == {"fp32": pytest.approx(0.99), "int8": pytest.approx(0.99)}
    assert torch.equal(made.tested.answers.logits, right.logits)  # what serves is the graph in fp32
    assert made.record["precision"] == "fp32"
    assert made.record["reason"] == "int8 costs more than 0.1% of accuracy: 0.9900 against 1.0000 on 300 test images"


@pytest.mark.parametrize("int8", [SLOW, {"1": 2.0, "8": 20.0}, {"1": 3.9, "8": 9.0}])
def test_it_does_not_where_it_is_no_faster_for_one_image_or_for_many(chosen: Choose, int8: dict[str, float]) -> None:
    made = chosen(int8=int8)
    assert made.graph is None
    assert (made.record["file"], made.record["reason"]) == ("model.onnx", "int8 is no faster here")


def test_it_does_not_where_it_cannot_be_made(chosen: Choose, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise NotQuantized("quantising ended with exit code 1: a reason")

    monkeypatch.setattr(graph_selection, "quantize", fail)
    made = chosen()
    assert (made.graph, made.record["latency_ms"]) == (None, {"fp32": SLOW})
    assert made.record["reason"] == "quantising ended with exit code 1: a reason"


def test_few_test_images_cannot_tell(graph: bytes, part: Part) -> None:
    few = Part(part.some(range(20)), part.labels[:20])
    made = choose(graph, part, few, answers_of(graph, few), flop_per_image=1e4)
    assert made.record["reason"] == "20 test images are too few to judge an int8 graph by"


def test_a_large_network_is_judged_by_fewer_images(graph: bytes, part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_selection, "MIN_IMAGES", 10)
    made = choose(graph, part, part, answers_of(graph, part), flop_per_image=graph_selection.CHECK_FLOP / 50)
    assert made.record["checked"]["images"] == 50


def test_latencies_are_told_for_each_batch_and_graph(graph: bytes, part: Part) -> None:
    table = latencies({"one": session(graph), "other": session(graph)}, part.some([0]).numpy())
    assert [list(times) for times in table.values()] == [["1", "8", "32"]] * 2
    assert all(time > 0 for times in table.values() for time in times.values())


def test_batches_that_would_take_too_long_are_not_timed(
    graph: bytes, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_selection, "_timed", lambda *_: 0.6)
    table = latencies({"one": session(graph)}, part.some([0]).numpy())
    assert table == {"one": {"1": 600.0}}


def test_the_session_uses_as_many_threads_as_torch(graph: bytes) -> None:
    made = session(graph)
    assert isinstance(made, onnxruntime.InferenceSession)
    assert made.get_session_options().intra_op_num_threads == torch.get_num_threads()
