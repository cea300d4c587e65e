"""``python -m benchmarks.strangers``: measure on which images a digit model abstains.

It uses the graph that serves on a CPU.

Needs the folder of a published model (--model, ``.../models/<id>``) and the folder of the data (--data: mnist,
fashion_mnist, digit_photos, ants_bees). Every image goes the whole way of /predict: picture, core.imaging.preparation,
graph, threshold. Prints a row for each set, and the expected calibration error on MNIST's test set before and after
the temperature.

Letters are drawn from the font files under --fonts (print) and --hands (fonts that are traced from handwriting: in
Debian fonts-breip, -femkeklaver, -dkg-handwriting, -rufscript, -sjfonts, -bwht).
"""

import argparse
import json
import string
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from core.artifacts.store import LocalStore
from core.db.tables import Model
from core.imaging.decoding import decode
from core.imaging.idx_format import FILES
from core.imaging.preparation import prepare
from core.inference.onnx_predictor import OnnxPredictor, Outputs, temperature_of
from worker.data.formats.idx_files import find_idx, read_images, read_labels
from worker.evaluation.metrics import Answers
from worker.evaluation.temperature_scaling import expected_error, reliability

PIXELS = 100_000_000
BATCH = 64
AS_DIGITS = "BIOSZbgiloqsz"  # letters that many hands write like a digit
SIDE = 128  # of a drawn sheet

Pictures = Iterable[Image.Image]


def main() -> None:
    given = _arguments().parse_args()
    predictor = _predictor(given.model, given.threads)
    print("\n| images | sent | abstained | of them nothing to read |\n|---|---|---|---|")
    digits = _row(predictor, "MNIST's test digits", _idx(given.data / "mnist", 10_000))
    for name, pictures in _strangers(given).items():
        _row(predictor, name, pictures)
    before, after = _calibration(predictor, digits, read_labels(_file(given.data / "mnist", FILES[3])))
    print(f"\nExpected calibration error on MNIST's test set: {before:.2%} before the temperature, {after:.2%} after.")


def _predictor(folder: Path, threads: int) -> OnnxPredictor:
    """Load a predictor from the model's files, without a database."""
    card: dict[str, Any] = json.loads((folder / "model.json").read_text())
    model = Model(id=card["id"], key=f"{folder.parent.name}/{folder.name}", card=card)
    return OnnxPredictor(model, LocalStore(folder.parent.parent), threads)


def _row(predictor: OnnxPredictor, name: str, pictures: Pictures) -> list[Outputs]:
    """Print the number of pictures and how often the model abstains."""
    pictures, found, strange, blank = iter(pictures), [], 0, 0
    while some := list(islice(pictures, BATCH)):
        prepared = [prepare(picture, predictor.preparation) for picture in some]
        found.append(outputs := predictor.run(np.stack([entry.pixels for entry in prepared])))
        nothing = np.array([entry.blank for entry in prepared])
        blank += int(nothing.sum())
        if outputs.ood_score is not None:
            strange += int((~nothing & (outputs.ood_score > 1)).sum())
    if sent := sum(len(outputs.probabilities) for outputs in found):
        print(f"| {name} | {sent:,} | {(strange + blank) / sent:.1%} | {blank / sent:.1%} |", flush=True)
    return found


def _calibration(predictor: OnnxPredictor, found: list[Outputs], labels: np.ndarray) -> tuple[float, float]:
    """Compute the expected calibration error before and after the temperature.

    The probabilities' logits are divided by it already.
    """
    logits = torch.from_numpy(np.concatenate([outputs.probabilities for outputs in found])).clamp_min(1e-38).log()
    answers = Answers(logits, torch.from_numpy(labels))
    before, after = (expected_error(reliability(answers, by)) for by in (1 / temperature_of(predictor.model), 1.0))
    return before, after


def _strangers(given: argparse.Namespace) -> Mapping[str, Pictures]:
    data, chance = given.data, np.random.default_rng(0)
    unlike = set(string.ascii_letters) - set(AS_DIGITS)
    return {
        "strangers' digits": _files(data / "digit_photos"),
        "Fashion-MNIST, test": _idx(data / "fashion_mnist", given.most),
        "photos": _files(data / "ants_bees"),
        "noise": _noises(chance, given.count),
        "scribbles": (_scribble(chance) for _ in range(given.count)),
        "printed letters": _letters(given.fonts, string.ascii_letters),
        "printed letters unlike digits": _letters(given.fonts, unlike),
        "handwritten letters": _letters(given.hands, string.ascii_letters),
        "handwritten letters unlike digits": _letters(given.hands, unlike),
        "handwritten digits of the same fonts": _letters(given.hands, string.digits),
    }


def _idx(root: Path, most: int) -> Iterator[Image.Image]:
    """Read the first test images of an IDX file."""
    return (Image.fromarray(pixels[..., 0]) for pixels in read_images(_file(root, FILES[2]))[:most])


def _file(root: Path, file: str) -> Path:
    found = find_idx(root, "", file)
    if found is None:
        raise SystemExit(f"{file} is not in {root}.")
    return found


def _files(folder: Path) -> Iterator[Image.Image]:
    return (decode(file.read_bytes(), PIXELS) for file in sorted(folder.rglob("*.*")) if file.is_file())


def _noises(chance: np.random.Generator, count: int) -> Iterator[Image.Image]:
    """Make noise images of four kinds.

    The kinds are even, normal, black and white dots, and smooth. They are as small as MNIST's images, or larger.
    """
    for number in range(count):
        side = (28, SIDE)[number // 4 % 2]
        even, normal = chance.random((side, side)), chance.normal(0.5, 0.2, (side, side))
        dots, smooth = (even < chance.uniform(0.02, 0.5)), _stretched(_blurred(even, side / 14))
        yield _grey((even, normal, dots, smooth)[number % 4])


def _scribble(chance: np.random.Generator) -> Image.Image:
    """Draw one to three random wandering pen lines."""
    sheet = Image.new("L", (SIDE, SIDE), 255)
    width = int(chance.integers(4, 12))
    for _ in range(chance.integers(1, 4)):
        turns = np.cumsum(chance.normal(0, 0.25, 120)) + np.cumsum(np.cumsum(chance.normal(0, 0.03, 120)))
        path = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1) * 3, 0)
        path = (path - path.min(0)) / np.ptp(path) * (SIDE * chance.uniform(0.4, 0.8)) + SIDE * 0.1
        ImageDraw.Draw(sheet).line([*map(tuple, path.tolist())], fill=0, width=width, joint="curve")
    return sheet


def _letters(fonts: Path | None, signs: Iterable[str]) -> Iterator[Image.Image]:
    for file in sorted(file for file in fonts.rglob("*.[ot]tf") if file.is_file()) if fonts else []:
        font = ImageFont.truetype(file, 80)
        for sign in sorted(signs):
            sheet = Image.new("L", (SIDE, SIDE), 255)
            ImageDraw.Draw(sheet).text((SIDE // 2, SIDE // 2), sign, fill=0, font=font, anchor="mm")
            if sheet.getextrema()[0] == 0:  # the font has it
                yield sheet


def _blurred(values: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(_grey(values).filter(ImageFilter.GaussianBlur(radius))) / 255


def _stretched(values: np.ndarray) -> np.ndarray:
    return np.asarray(ImageOps.autocontrast(_grey(values))) / 255


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray((values.clip(0, 1) * 255).astype(np.uint8))


def _arguments() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, required=True)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    options.add_argument("--hands", type=Path, help="folder of fonts traced from handwriting")
    options.add_argument("--count", type=int, default=800, help="images of noise, and of scribbles")
    options.add_argument("--most", type=int, default=10_000, help="maximum images of Fashion-MNIST")
    options.add_argument("--threads", type=int, default=2)
    return options


if __name__ == "__main__":
    main()
