"""Predict with torch on a GPU.

This is the only torch in the service, imported when a GPU is there and nothing forbids it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from core.artifacts.manifest import read_tensors
from core.artifacts.model_files import OOD_SCORE, WEIGHTS
from core.artifacts.store import ArtifactStore
from core.db.tables import Model
from core.imaging.preparation import Preparation
from core.inference.network import ServingGraph, build, from_arrays, is_timms
from core.inference.onnx_predictor import Images, Outputs, temperature_of
from core.inference.ood_score import Scorer, load_ood_scorer

Answers = tuple[Tensor, Tensor | None, Tensor | None]  # float32: probabilities, n x classes; ood_score; features


def cuda_is_available() -> bool:
    return torch.cuda.is_available()


class TorchPredictor:
    """A model in bf16, or fp32 where the device has no bf16.

    Its layout is channels_last, and BatchNorm is folded into the convolutions. On a GPU batches of up to ``largest``
    images run as CUDA graphs: launched one by one, the kernels of a small batch take the host longer than the device.
    """

    max_concurrent_batches = 1  # the device is one

    def __init__(self, model: Model, store: ArtifactStore, device: str, largest: int = 32) -> None:
        self.model = model
        self.preparation = Preparation.model_validate(model.card["preparation"])
        self.classes = tuple(model.card["classes"])
        self.engine = f"torch-{device}"
        self._temperature = temperature_of(model)
        self._device = torch.device(device)
        self._dtype = torch.bfloat16 if device.startswith("cuda") and torch.cuda.is_bf16_supported() else torch.float32
        network = build(model.card["network"], len(self.classes), self.preparation.image_size)
        network.load_state_dict(from_arrays(read_tensors(store, model.key, WEIGHTS)))
        ood_scorer = _ood_scorer(model, store)
        self.tells_ood_score = ood_scorer is not None
        self._graph = ServingGraph(self.preparation, network.eval(), ood_scorer, with_features=True).eval()
        self.feature_size = self._graph.feature_size
        self._graph.network = _lean(self._graph.network, self._dtype)
        if self._graph.head is not None:
            self._graph.head.to(self._dtype)
        self._graph.to(self._device)
        shape = (self.preparation.height, self.preparation.width, self.preparation.channels)
        on_gpu = self._device.type == "cuda"
        self._answer = (
            Recorded(self._predict, torch.zeros(largest, *shape, dtype=torch.uint8)) if on_gpu else self._predict
        )

    @torch.inference_mode()
    def run(self, images: Images, with_features: bool = False) -> Outputs:
        probabilities, ood_score, features = self._answer(torch.from_numpy(images))
        return Outputs(
            probabilities.cpu().numpy(),
            None if ood_score is None else ood_score.cpu().numpy(),
            features.cpu().numpy() if with_features and features is not None else None,
        )

    def _predict(self, images: Tensor) -> Answers:
        images = images.to(self._device)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not torch.float32):
            logits, features = self._graph.look(images)
        probabilities = (logits.float() / self._temperature).softmax(1)
        scorer = self._graph.ood_scorer
        ood_score = None if scorer is None else scorer(images, features, logits)  # in fp32
        return probabilities, ood_score, features.float() if self.feature_size else None


class Recorded:
    """Recorded CUDA graphs of a function, one for each batch size.

    The sizes are the powers of two up to the length of ``blank``, and that length. A smaller batch is filled up with
    what lay there before; a larger one runs as it is. One caller at a time.
    """

    @torch.inference_mode()
    def __init__(self, predict: Callable[[Tensor], Answers], blank: Tensor) -> None:
        self._predict = predict
        self._images = blank.cuda()
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Answers]] = {}
        stream, pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]
        for size in _sizes(len(blank)):
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._predict(self._images[:size])  # cuDNN and cuBLAS make their lasting memory
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            # others may use the device meanwhile: the model that serves until this one does
            with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
                answers = self._predict(self._images[:size])
            self._graphs[size] = graph, answers

    def __call__(self, images: Tensor) -> Answers:
        count = len(images)
        size = next((size for size in self._graphs if size >= count), None)
        if size is None:
            return self._predict(images)
        self._images[:count].copy_(images)
        graph, (probabilities, ood_score, features) = self._graphs[size]
        graph.replay()
        return (
            probabilities[:count],
            None if ood_score is None else ood_score[:count],
            None if features is None else features[:count],
        )


def _lean(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Fold a network's BatchNorm and set its layout and dtype.

    timm's stay as they are: not all of them can be traced, and their BatchNorm has its activation inside.
    """
    folded = network if is_timms(network) else fuse(network)
    return folded.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _sizes(largest: int) -> list[int]:
    return [*(2**power for power in range(largest.bit_length()) if 2**power < largest), largest]


def _ood_scorer(model: Model, store: ArtifactStore) -> Scorer | None:
    if OOD_SCORE not in model.card.get("files", {}):
        return None
    return load_ood_scorer(from_arrays(read_tensors(store, model.key, OOD_SCORE)))
