"""Teaches core.inference.ood_score's detector to tell the training images from made-up ones."""

import string
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from core.inference.ood_score import Detector, grey
from worker.data import augmentation
from worker.data.splits import Part
from worker.ood.synthetic_letters import digits
from worker.ood.synthetic_outliers import outliers

MOST = 20_000  # training images that it sees
FEWEST = 2_000  # with fewer it would know each of them by heart
DRAWN = 3_000  # digits of the pen that draws the letters, so that its style tells nothing
OUTLIERS = 20_000
STEPS = 1_200  # with the outliers a minute of one core
BATCH = 64  # of either kind
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 2e-2
WARMUP = 100  # steps
GAMMA = (0.5, 1.7)  # how soft the edge of a stroke may become, and how hard


def can_teach(train: Part, style: str, enlarged: bool) -> bool:
    """Whether the images are in MNIST's form, as the made-up ones, and many.

    Enlarged ones are smooth: whoever tells these from made-up ones takes every sharper picture for strange.
    """
    return style == "digit" and not enlarged and len(train) >= FEWEST


def teach(train: Part, classes: Sequence[str], seed: int, precision: str = "fp32") -> Detector:
    """In eval mode, on the part's device. The same seed, the same detector. ``classes``: their names; where all are
    digits, letters are strange.
    """
    device = train.labels.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        images, labels = pictures(train)
        of_digits = set(classes) <= set(string.digits)
        made = outliers(images, labels, OUTLIERS, with_letters=of_digits)
        if of_digits:
            drawn, places = digits(classes, DRAWN)
            images, labels = torch.cat([images, drawn]), torch.cat([labels, places])
        detector = Detector(len(classes)).to(device)
        _train(detector, images.to(device), labels.to(device), made.to(device), precision == "bf16")
        return detector.eval()


def pictures(train: Part) -> tuple[Tensor, Tensor]:
    """Those of the training images that it sees, float n x h x w, 0 to 1, and their labels; on the host."""
    rows = torch.linspace(0, len(train) - 1, min(MOST, len(train))).long()
    return grey(train.some(rows.tolist()))[:, 0].cpu(), train.labels.cpu()[rows]


def _train(detector: Detector, images: Tensor, labels: Tensor, made: Tensor, in_bf16: bool) -> None:
    detector.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(detector.parameters(), weight_decay=WEIGHT_DECAY)
    none = torch.full((BATCH,), detector.head.out_features - 1, device=images.device)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1, (step + 1) / WARMUP) * (1 - step / STEPS)
        rows, others = (torch.randint(len(some), (BATCH,), device=images.device) for some in (images, made))
        shown = _changed(torch.cat([images[rows], made[others]])[:, None], step)
        with torch.autocast(shown.device.type, torch.bfloat16, enabled=in_bf16):
            logits = detector.logits(shown)
        loss = functional.cross_entropy(logits.float(), torch.cat([labels[rows], none]))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    detector.to(memory_format=torch.contiguous_format)


def _changed(images: Tensor, step: int) -> Tensor:
    """As another hand would write it, and every second batch with another pen: either kind alike, so that neither is
    known by its style.
    """
    images = augmentation.digits(images).clamp(0, 1)
    if step % 2:
        low, high = GAMMA
        images = images ** (torch.rand(len(images), 1, 1, 1, device=images.device) * (high - low) + low)
    return images
