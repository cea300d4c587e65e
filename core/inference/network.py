"""Networks, and the serving graph with the torch half of the preprocessing."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from core.imaging.preparation import Preparation
from core.inference.graph_outputs import FEATURES, LOGITS, OOD_SCORE
from core.inference.ood_score import Scorer
from core.networks import EFFICIENTNET_LITE0, TIMM, lookup

POSITIONS = "encoder.pos_embedding"  # of a vision transformer: one for each patch of the image, and one for the class
BATCHNORM_MOMENTUM = 0.1  # minimum; torch's default


class Prepare(nn.Module):
    """Resize and normalise canonical images.

    uint8 n x h x w x c -> float n x 3 x size x size. Float n x 1 x size x size for a network that takes grey images
    (worker.publishing.onnx_export).
    """

    mean: Tensor
    std: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, preparation: Preparation) -> None:
        super().__init__()
        self.channels = 3
        self._size = preparation.image_size
        self._resize = (preparation.height, preparation.width) != (self._size, self._size)
        self._antialias = self._size < max(preparation.height, preparation.width)  # else fine patterns become others
        if self._antialias:
            self.register_buffer("rows", _antialiasing(preparation.height, self._size), persistent=False)
            self.register_buffer("columns", _antialiasing(preparation.width, self._size).T, persistent=False)
        self.register_buffer("mean", torch.tensor(preparation.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preparation.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        one = self.channels == 1  # no transposition: ONNX Runtime would move it behind the resize, which gets slower
        values = (images.squeeze(3).unsqueeze(1) if one else images.permute(0, 3, 1, 2)).float() / 255
        if self._resize:  # before the channel is repeated: a grey digit is resized once
            values = self._resized(values)
        mean, std = (each[:, : self.channels] for each in (self.mean, self.std))
        values = values.expand(-1, self.channels, -1, -1)
        return (values.reshape(-1, self.channels, self._size, self._size) - mean) / std  # a size that a trace knows

    def _resized(self, values: Tensor) -> Tensor:
        if self._antialias and torch.onnx.is_in_onnx_export():  # tracing has no form of it, ONNX Runtime a slow one
            return self.rows @ values @ self.columns
        size = (self._size, self._size)
        return F.interpolate(values, size, mode="bilinear", align_corners=False, antialias=self._antialias)


def _antialiasing(before: int, after: int) -> Tensor:
    """Return the matrix that resizes a line with antialiasing.

    float after x before: what each pixel of a line adds to each pixel of the resized line.
    """
    unit = torch.eye(before)[None, None]
    return F.interpolate(unit, (after, before), mode="bilinear", align_corners=False, antialias=True)[0, 0]


class ServingGraph(nn.Module):
    """All that serving needs in one graph, from images to logits.

    Canonical images -> logits, float n x classes. With an ood_scorer it returns ood_score, float n, too, and
    ``with_features`` the features, float n x d, last. Both take the head out of ``network``; there are no features if
    it is not linear.
    """

    def __init__(
        self,
        preparation: Preparation,
        network: nn.Module,
        ood_scorer: Scorer | None = None,
        with_features: bool = False,
    ) -> None:
        super().__init__()
        self.prepare = Prepare(preparation)
        self.head = take_head(network) if ood_scorer or with_features else None
        self.network = network
        self.ood_scorer = ood_scorer
        self.feature_size = self.head.in_features if with_features and self.head is not None else 0

    @property
    def outputs(self) -> list[str]:
        """Name what ``forward`` returns, in its order."""
        return [LOGITS, *([OOD_SCORE] if self.ood_scorer else []), *([FEATURES] if self.feature_size else [])]

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        logits, features = self.look(images)  # first, so that the graph's first weights are the network's
        found = [logits]
        if self.ood_scorer is not None:
            found.append(self.ood_scorer(images, features, logits))
        if self.feature_size:
            found.append(features)
        return tuple(found) if len(found) > 1 else logits

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and features; without a separate head, the logits twice."""
        features: Tensor = self.network(self.prepare(images))
        return features if self.head is None else self.head(features), features


def build(name: str, classes: int, image_size: int = 224) -> nn.Module:
    """Build a network with random weights and a head for ``classes`` classes.

    ``image_size`` matters to networks built for one size alone. The last BatchNorm of each residual block starts at
    zero, so that a block starts as the identity: several points on short budgets (Goyal et al. 2017, 5.1). BatchNorm
    momentum is at least torch's default: with MNASNet's own, running statistics need tens of thousands of steps.
    """
    if name == EFFICIENTNET_LITE0:
        return _with_usual_momentum(_timms("tf_efficientnet_lite0", classes))
    if name.startswith(TIMM):
        sized = {"img_size": image_size} if lookup.get(name).traits.multiple > 1 else {}
        return _with_usual_momentum(_timms(name.removeprefix(TIMM), classes, **sized))
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True}  # one output, like the other networks
    elif name.startswith("vit"):
        options = {"image_size": image_size}
    elif name.startswith("maxvit"):
        options = {"input_size": (image_size, image_size)}
    network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
    for module in network.modules():
        if isinstance(module, (models.resnet.Bottleneck, models.resnet.BasicBlock)):
            last = module.bn3 if isinstance(module, models.resnet.Bottleneck) else module.bn2
            assert isinstance(last.weight, Tensor)
            nn.init.zeros_(last.weight)
    return _with_usual_momentum(network)


def _timms(name: str, classes: int, **options: Any) -> nn.Module:
    import timm  # takes seconds, and few networks need it

    network: nn.Module = timm.create_model(name, num_classes=classes, **options)
    return network


def is_timms(network: nn.Module) -> bool:
    return type(network).__module__.partition(".")[0] == "timm"


def timms_untraceable() -> tuple[tuple[type[nn.Module], ...], tuple[Callable[..., Any], ...]]:
    """Return timm's modules and functions whose code torch.fx cannot trace."""
    from timm.models import get_notrace_functions, get_notrace_modules

    return tuple(get_notrace_modules()), tuple(get_notrace_functions())  # type: ignore[no-untyped-call]


def _with_usual_momentum(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None:
            module.momentum = max(module.momentum, BATCHNORM_MOMENTUM)
    return network


def take_head(network: nn.Module) -> nn.Linear | None:
    """Replace the network's linear head by the identity and return the head.

    The network then outputs features. None, and nothing changed, if the last layer is not linear (squeezenet). Behind
    it some of timm's heads have layers that do nothing.
    """
    name, head = [(name, layer) for name, layer in network.named_modules() if not isinstance(layer, nn.Identity)][-1]
    if not isinstance(head, nn.Linear):
        return None
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    return head


def to_arrays(network: nn.Module) -> dict[str, npt.NDArray[Any]]:
    """Return weights and buffers as arrays, by torchvision's names."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in network.state_dict().items()}


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Tensor]:
    """Convert arrays to a state dict."""
    return _state_dict((name, torch.from_numpy(np.array(array))) for name, array in arrays.items())


def load_matching(network: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Load tensors of matching name and shape; return names not loaded.

    With weights for another number of classes, these are the head's. Unknown names are passed on: a vision transformer
    still maps the old names that torchvision's files use.
    """
    own = network.state_dict()
    state = _at_its_size(network, state)
    fitting = _state_dict((name, t) for name, t in state.items() if name not in own or t.shape == own[name].shape)
    left = network.load_state_dict(fitting, strict=False).missing_keys
    return [name for name in left if not name.endswith("num_batches_tracked")]


def _at_its_size(network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Interpolate a vision transformer's position embeddings to the network's image size.

    timm's have a function of their own for it, in the module of the network's family.
    """
    fit = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if fit is not None:
        fitted: Mapping[str, Tensor] = fit(dict(state), network)
        return fitted
    if not isinstance(network, models.VisionTransformer) or POSITIONS not in state:
        return state
    return interpolate_embeddings(network.image_size, network.patch_size, OrderedDict(state))


def _state_dict(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Build a state dict with the version number that MNASNet requires."""
    state = OrderedDict(tensors)
    state._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    return state
