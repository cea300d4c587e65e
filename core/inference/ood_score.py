"""Out-of-distribution score of an image, a part of the serving graph.

It is fitted on what the network was trained with.

Three terms, since each is blind where another sees. The energy of the logits is high where no class answers loudly
(Liu et al. 2020, "Energy-based Out-of-distribution Detection"). The features, which are what the head sees, lie far
from every class's centre in units of their spread within a class (Lee et al. 2018, "A Simple Unified Framework"). And
so does the texture of the image: what a few small fixed filters find in it, which training has not shrunk to what
separates the classes. On MNIST the last is what finds clothes, and the first two what finds letters.

For signs in MNIST's form there is a fourth, a small network trained to separate the training images from synthetic
outliers (Hendrycks et al. 2019, "Deep Anomaly Detection with Outlier Exposure"; worker.ood.synthetic_outliers).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.inference.nearest_image import NearestImage

SCALES = (1, 2, 4)  # by how much an image is shrunk before its texture is looked at
CHANNELS = (16, 32, 64)  # of the detector's convolutions
EDGE = 3  # side of the filters in pixels
DETECTOR = "detector."  # before its weights' names
TINY = 1e-12  # keeps logarithms and roots of nothing finite


class Texture(nn.Module):
    """Mean and deviation of each filter's response to an image.

    Canonical images, uint8 n x h x w x c -> float n x 96. Rising and falling responses count separately.
    """

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        filters = _cosines(EDGE)
        self.register_buffer("filters", torch.cat([filters, -filters]), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        found = grey(images)
        return torch.cat([self._at(functional.avg_pool2d(found, scale)) for scale in SCALES], 1)

    def _at(self, grey: Tensor) -> Tensor:
        waves = functional.conv2d(grey, self.filters, padding=(EDGE // 2, EDGE // 2)).relu()
        mean = waves.mean((2, 3))
        variance = (waves.square().mean((2, 3)) - mean.square()).clamp_min(0)
        return torch.cat([mean, (variance + TINY).sqrt()], 1)


class Distance(nn.Module):
    """Log of the squared Mahalanobis distance to the nearest centre.

    Values, float n x d -> float n. ``axes``, d x k, are the directions of the largest spread, orthonormal, with their
    ``deviations``, k; all others have the deviation ``rest``. ``centres``, classes x d. Values far from ``origin``, d,
    would cost digits.
    """

    def __init__(self, origin: Tensor, axes: Tensor, deviations: Tensor, rest: Tensor, centres: Tensor) -> None:
        super().__init__()
        self.register_buffer("origin", origin)
        self.register_buffer("axes", axes)
        self.register_buffer("deviations", deviations)
        self.register_buffer("rest", rest)
        self.register_buffer("centres", centres)

    def forward(self, values: Tensor) -> Tensor:
        own, centres = self._white(values), self._white(self.get_buffer("centres"))
        squares = own.square().sum(1, keepdim=True) + centres.square().sum(1) - 2 * own @ centres.T
        return (squares.amin(1).clamp_min(0) + 1).log()

    def _white(self, values: Tensor) -> Tensor:
        axes = self.get_buffer("axes")
        values = values - self.get_buffer("origin")
        along = values @ axes
        beside = values - along @ axes.T
        return torch.cat([along / self.get_buffer("deviations"), beside / self.get_buffer("rest")], 1)


class Detector(nn.Module):
    """Small network that returns the log-odds that images show no class.

    Canonical images, uint8 n x 28 x 28 x c -> float n.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        first, second, third = CHANNELS
        self.layers = nn.Sequential(
            *_convolution(1, first, 5, stride=2),
            *_convolution(first, second, 3),
            nn.MaxPool2d(2),
            *_convolution(second, third, 3),
            nn.MaxPool2d(2, ceil_mode=True),
            *_convolution(third, third, 3),
            nn.Flatten(),
            nn.Linear(third * 4 * 4, 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, classes + 1)  # the last is none of them

    def forward(self, images: Tensor) -> Tensor:
        logits = self.logits(grey(images))
        return logits[:, -1] - logits[:, :-1].logsumexp(1)

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of all classes and of "no class".

        Float n x 1 x 28 x 28, 0 to 1, -> float n x classes + 1.
        """
        found: Tensor = self.head(self.layers(images))
        return found


class OodScorer(nn.Module):
    """Combine the terms of an image into its ood_score.

    Images, features and logits -> ood_score, float n: 0 is that of a usual image, and from 1 on the model abstains.
    Without a detector the score is a weighted sum of the terms above their means. With a detector, it is the Euclidean
    norm of the weighted terms above their means; terms below it count as zero.
    """

    usual: Tensor  # 3, or 4 with a detector: the terms' means
    weights: Tensor  # as many

    def __init__(
        self, features: Distance, texture: Distance, usual: Tensor, weights: Tensor, detector: Detector | None = None
    ) -> None:
        super().__init__()
        self.look = Texture()
        self.features = features
        self.texture = texture
        self.detector = detector
        self.register_buffer("usual", usual)
        self.register_buffer("weights", weights)

    def forward(self, images: Tensor, features: Tensor, logits: Tensor) -> Tensor:
        return self.combine(self.terms(images, features, logits))

    def terms(self, images: Tensor, features: Tensor, logits: Tensor) -> Tensor:
        """Float n x 3, or x 4."""
        energy = -logits.float().logsumexp(1)
        found = [energy, self.features(features.float()), self.texture(self.look(images))]
        return torch.stack(found if self.detector is None else [*found, self.detector(images)], 1)

    def combine(self, terms: Tensor) -> Tensor:
        above = terms - self.usual
        if self.detector is None:
            return above @ self.weights
        return (above.relu() * self.weights).square().sum(1).sqrt()


Scorer = OodScorer | NearestImage


def load_ood_scorer(state: Mapping[str, Tensor]) -> Scorer:
    """Build an OodScorer from the ``state_dict`` of another one."""

    if "images" in state:
        return NearestImage(state["images"], state["threshold"]).eval()

    def distance(name: str) -> Distance:
        parts = ("origin", "axes", "deviations", "rest", "centres")
        return Distance(*(state[f"{name}.{part}"] for part in parts))

    ood_scorer = OodScorer(distance("features"), distance("texture"), state["usual"], state["weights"])
    weights = {name.removeprefix(DETECTOR): value for name, value in state.items() if name.startswith(DETECTOR)}
    if weights:
        ood_scorer.detector = Detector(classes=len(weights["head.bias"]) - 1)
        ood_scorer.detector.load_state_dict(weights)
    return ood_scorer.eval()


def grey(images: Tensor) -> Tensor:
    """Float n x 1 x h x w, 0 to 1."""
    return images.float().mean(3)[:, None] / 255


def _convolution(taken: int, made: int, side: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(taken, made, side, stride, side // 2, bias=False), nn.BatchNorm2d(made), nn.ReLU()]


def _cosines(side: int) -> Tensor:
    """Build the 2-D cosine transform's filters without the constant one.

    side² - 1 x 1 x side x side.
    """
    place = torch.arange(side)
    waves = torch.stack([torch.cos(torch.pi * (place + 0.5) * order / side) for order in range(side)])
    waves = waves / waves.norm(dim=1, keepdim=True)
    return torch.einsum("ua,vb->uvab", waves, waves).reshape(side * side, 1, side, side)[1:]
