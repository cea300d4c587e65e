"""Train the out-of-distribution detector.

It is a small network that separates training images from synthetic outliers.
"""

import string
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from core.inference.ood_score import Detector, grey
from worker.data import augmentation
from worker.data.splits import Split
from worker.ood.synthetic_outliers import drawn_digits, outliers

MAX_IMAGES = 12_000  # training images that it sees
MIN_IMAGES = 2_000  # with fewer it learns each of them by heart
DRAWN_DIGITS = 2_000  # in the style of the synthetic letters, so that the style is no clue
OUTLIERS = 12_000
STEPS = 500
BATCH = 32  # of training images, and of outliers
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 2e-2
WARMUP_STEPS = 50
GAMMA = (0.5, 1.7)  # how soft the edge of a stroke may become, and how hard


def can_train(train: Split, style: str, enlarged: bool) -> bool:
    """Check whether a detector can be trained on these images.

    There must be enough, in MNIST's form, which the outliers have. Enlarged images are smooth: a detector would learn
    that every sharper picture is an outlier.
    """
    return style == "digit" and not enlarged and len(train) >= MIN_IMAGES


def train_detector(train: Split, classes: Sequence[str], seed: int, precision: str = "fp32") -> Detector:
    """Train a detector; the same seed gives the same weights.

    It is trained on the device of the split, and returned in eval mode. Letters are outliers where all ``classes`` are
    named by digits.
    """
    device = train.labels.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        rows = torch.linspace(0, len(train) - 1, min(MAX_IMAGES, len(train))).long()
        images, labels = grey(train.some(rows.tolist()))[:, 0].cpu(), train.labels.cpu()[rows]
        are_digits = set(classes) <= set(string.digits)
        others = outliers(images, labels, OUTLIERS, with_letters=are_digits)
        if are_digits:
            drawn, drawn_labels = drawn_digits(classes, DRAWN_DIGITS)
            images, labels = torch.cat([images, drawn]), torch.cat([labels, drawn_labels])
        detector = Detector(len(classes)).to(device)
        _fit(detector, images.to(device), labels.to(device), others.to(device), precision == "bf16")
        return detector.eval()


def _fit(detector: Detector, images: Tensor, labels: Tensor, others: Tensor, in_bf16: bool) -> None:
    detector.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(detector.parameters(), weight_decay=WEIGHT_DECAY)
    none = torch.full((BATCH,), detector.head.out_features - 1, device=images.device)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1, (step + 1) / WARMUP_STEPS) * (1 - step / STEPS)
        own, other = (torch.randint(len(part), (BATCH,), device=images.device) for part in (images, others))
        batch = _augmented(torch.cat([images[own], others[other]])[:, None], step)
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=in_bf16):
            logits = detector.logits(batch)
        loss = functional.cross_entropy(logits.float(), torch.cat([labels[own], none]))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    detector.to(memory_format=torch.contiguous_format)


def _augmented(images: Tensor, step: int) -> Tensor:
    """Vary hand and, in every second batch, pen.

    Outliers too, so that no style gives them away.
    """
    images = augmentation.digits(images).clamp(0, 1)
    if step % 2:
        low, high = GAMMA
        images = images ** (torch.rand(len(images), 1, 1, 1, device=images.device) * (high - low) + low)
    return images
