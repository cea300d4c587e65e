"""A training step recorded as one CUDA graph.

A small network's step is a thousand kernels, and launching one takes the host longer than running it takes the device.
Recorded once, they are launched together.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # images and labels -> loss and logits, both detached

WARM_UP = 3  # steps before the recording: in the first, optimizer, cuDNN and autograd allocate what they keep


class CudaGraphStep:
    """A training step that replays a CUDA graph.

    The graph is recorded in the fourth call. The batches must have one shape, and the step must not wait for the
    device. The next call overwrites what a call returned. Source: "CUDA Graphs", whole-network capture, in torch's
    notes.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._runs = 0
        self._graph = torch.cuda.CUDAGraph()
        # recording needs a stream that is not the default one, and the steps before it run on it, too
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._images = self._labels = self._loss = self._logits = torch.empty(0)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self._runs += 1
        if self._runs <= WARM_UP:
            return self._run_unrecorded(images, labels)
        if self._runs == WARM_UP + 1:
            self._record(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._loss, self._logits

    def _run_unrecorded(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            loss, logits = self._step(images, labels)
        torch.cuda.current_stream().wait_stream(self._stream)
        return loss, logits

    def _record(self, images: Tensor, labels: Tensor) -> None:
        """Record a step without running it."""
        self._images, self._labels = images.clone(), labels.clone()
        with torch.cuda.graph(self._graph, stream=self._stream):
            self._loss, self._logits = self._step(self._images, self._labels)
