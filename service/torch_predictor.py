"""A model on a GPU. The only torch in the service; imported when a GPU is there and nothing forbids it."""

import torch

from core.checkpoints import read_tensors
from core.familiarity import Familiarity, load_familiarity
from core.images import Preparation
from core.network import ServingGraph, build, from_arrays
from core.predictor import Images, Outputs, temperature_of
from core.store import ArtifactStore
from core.tables import Model

STRANGENESS = "familiarity.safetensors"  # of the models that have one (worker.familiarity)


def cuda_is_available() -> bool:
    return torch.cuda.is_available()


class TorchPredictor:
    """bf16, channels_last; fp32 where the device has no bf16."""

    lanes = 1  # the device is one

    def __init__(self, model: Model, store: ArtifactStore, device: str) -> None:
        self.model = model
        self.preparation = Preparation.model_validate(model.card["preparation"])
        self.classes = tuple(model.card["classes"])
        self.engine = f"torch-{device}"
        self._temperature = temperature_of(model)
        self._device = torch.device(device)
        self._dtype = torch.bfloat16 if device.startswith("cuda") and torch.cuda.is_bf16_supported() else torch.float32
        network = build(model.card["network"], len(self.classes), self.preparation.image_size)
        network.load_state_dict(from_arrays(read_tensors(store, model.key, "weights.safetensors")))
        network = network.to(memory_format=torch.channels_last)
        graph = ServingGraph(self.preparation, network, _familiarity(model, store))
        self._graph = graph.to(self._device).eval()

    @torch.inference_mode()
    def run(self, images: Images) -> Outputs:
        batch = torch.from_numpy(images).to(self._device)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not torch.float32):
            logits, features = self._graph.look(batch)
        probabilities = (logits.float() / self._temperature).softmax(1).cpu().numpy()
        if self._graph.familiarity is None:
            return Outputs(probabilities)
        return Outputs(probabilities, self._graph.familiarity(batch, features, logits).cpu().numpy())  # in fp32


def _familiarity(model: Model, store: ArtifactStore) -> Familiarity | None:
    if STRANGENESS not in model.card.get("files", {}):
        return None
    return load_familiarity(from_arrays(read_tensors(store, model.key, STRANGENESS)))
