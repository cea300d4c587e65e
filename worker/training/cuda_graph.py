"""A training step as one CUDA graph. A small network's step is a thousand kernels, each of which takes the host longer
to launch than the device to run; recorded once, they are launched as one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # images and labels -> loss and logits, both detached

WARM_UP = 3  # steps that run as they are: optimizer, cuDNN and autograd make their lasting tensors in the first


class Captured:
    """A step that trains on what it is given, always of one shape and without waiting for the host inside.

    What it returns is overwritten by the next call. Source: "CUDA Graphs", whole-network capture, in torch's notes.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._runs = 0
        self._graph = torch.cuda.CUDAGraph()
        # capturing needs one that is not the default; the first steps prepare it
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._images = self._labels = self._loss = self._logits = torch.empty(0)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self._runs += 1
        if self._runs <= WARM_UP:
            return self._aside(images, labels)
        if self._runs == WARM_UP + 1:
            self._capture(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._loss, self._logits

    def _aside(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            loss, logits = self._step(images, labels)
        torch.cuda.current_stream().wait_stream(self._stream)
        return loss, logits

    def _capture(self, images: Tensor, labels: Tensor) -> None:
        """Records a step and runs none."""
        self._images, self._labels = images.clone(), labels.clone()
        with torch.cuda.graph(self._graph, stream=self._stream):
            self._loss, self._logits = self._step(self._images, self._labels)
