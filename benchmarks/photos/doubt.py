"""Measure which images a model of few photos abstains on.

Ants and bees behind the embedded backbone, by the number of photos.

The features are those of EfficientNet-Lite0, frozen; the score is fitted as in publishing. Prints a row for each number
of training photos, the means of some draws: the shares abstained on of the other ants and bees, of digits, garments,
noise, text and of not_an_ant.gif.
"""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from core.imaging.decoding import decode
from core.imaging.idx_format import FILES
from core.imaging.preparation import Preparation, fit_photo
from core.inference.network import Prepare, build, take_head
from worker.attempt import embedded_weights
from worker.data.formats.idx_files import find_idx, read_images
from worker.data.splits import Split, channels_last
from worker.ood import nearest
from worker.ood.fitting import SampleOutputs

PIXELS, BATCH = 100_000_000, 32
PHOTO = Preparation(
    style="photo", image_fit="crop", height=224, width=224, channels=3, image_size=224, mean=(0.5,) * 3, std=(0.5,) * 3
)
CLASSES = ("ants", "bees")
EACH = (90, 40, 20, 10, 5)  # training photos of a class
OTHERS, NOISES = 50, 30  # of a set


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.photos.doubt", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of ants_bees, mnist, fashion_mnist, ...")
    parser.add_argument("--draws", type=int, default=10)
    given = parser.parse_args()
    train = {name: _features(_photos(given.data / "ants_bees" / "train" / name)) for name in CLASSES}
    shown = {name: _features(pictures) for name, pictures in _sets(given.data).items()}
    print(f"| training photos | {' | '.join(f'{name} ({len(seen)})' for name, seen in shown.items())} |")
    print("|---" * (1 + len(shown)) + "|")
    for each in EACH:
        rows = [_abstained(train, shown, each, seed) for seed in range(given.draws)]
        print(f"| {2 * each} | {' | '.join(f'{share:.1%}' for share in np.mean(rows, 0))} |")


def _abstained(train: Mapping[str, Tensor], shown: Mapping[str, Tensor], each: int, seed: int) -> list[float]:
    """Draw so many photos of each class; return the share of each set that is abstained on."""
    chance = torch.Generator().manual_seed(seed)
    drawn = torch.cat([seen[torch.randperm(len(seen), generator=chance)[:each]] for seen in train.values()])
    scorer = nearest.fit(_outputs(drawn), _outputs(drawn[:0]), frozen=True).ood_scorer
    assert scorer is not None
    return [float((scorer(seen, seen, seen) > 1).double().mean()) for seen in shown.values()]


def _outputs(features: Tensor) -> SampleOutputs:
    count = len(features)
    part = Split(torch.zeros(count, 1, 1, 3, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64))
    return SampleOutputs(part, torch.zeros(count, len(CLASSES)), features)


@torch.inference_mode()
def _features(pictures: Iterable[Image.Image]) -> Tensor:
    network = build("efficientnet_lite0", embedded_weights.CLASSES)
    network.load_state_dict(embedded_weights.load())
    take_head(network)
    network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, prepare = torch.from_numpy(np.stack([fit_photo(picture) for picture in pictures])), Prepare(PHOTO)
    return torch.cat([network(channels_last(prepare(some))) for some in torch.split(images, BATCH)])


def _sets(data: Path) -> dict[str, list[Image.Image]]:
    chance = np.random.default_rng(0)
    fine = [chance.integers(0, 256, (224, 224, 3), np.uint8) for _ in range(NOISES)]
    coarse = [chance.integers(0, 256, (6, 8, 3), np.uint8) for _ in range(NOISES)]
    return {
        "other ants and bees": _photos(data / "ants_bees" / "val"),
        "MNIST": _idx(data / "mnist"),
        "Fashion-MNIST": _idx(data / "fashion_mnist"),
        "digits by hand": _photos(data / "digit_photos"),
        "noise": [Image.fromarray(values) for values in fine],
        "blurred noise": [Image.fromarray(values).resize((320, 240), Image.Resampling.BICUBIC) for values in coarse],
        "text": [_text(number) for number in range(NOISES)],
        "not_an_ant.gif": [decode((data / "not_an_ant.gif").read_bytes(), PIXELS)],
    }


def _photos(folder: Path) -> list[Image.Image]:
    return [decode(path.read_bytes(), PIXELS) for path in sorted(folder.rglob("*.*")) if path.is_file()]


def _idx(folder: Path) -> list[Image.Image]:
    path = find_idx(folder, folder.name, FILES[2])
    assert path is not None, folder
    return [Image.fromarray(image[..., 0]) for image in read_images(path)[:OTHERS]]


def _text(number: int) -> Image.Image:
    """Draw a page of this file's words, dark or light."""
    words, dark = Path(__file__).read_text().split(), number % 2 == 0
    page = Image.new("RGB", (640, 480), "#202020" if dark else "white")
    font, pen = ImageFont.load_default(14 + number % 10), ImageDraw.Draw(page)
    for line in range(18):
        start = (number * 37 + line * 8) % (len(words) - 8)
        text = " ".join(words[start : start + 8])
        pen.text((10, 10 + 26 * line), text, fill="white" if dark else "black", font=font)
    return page


if __name__ == "__main__":
    main()
