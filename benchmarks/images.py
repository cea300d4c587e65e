"""``python -m benchmarks.images``: time an image's preprocessing on one core.

It goes from file to canonical image. Prints a row for each kind: median, 10th and 90th percentile in milliseconds of
processor time, which other programs hardly affect, and the median of wall-clock time. --photos names a folder of
further pictures.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.hardships import HARDSHIPS
from core.imaging.decoding import decode
from core.imaging.preparation import Preparation, encode_png, prepare

PIXELS = 100_000_000
MNIST = Preparation(
    style="digit", height=28, width=28, channels=1, image_size=28, mean=(0.1307, 0, 0), std=(0.3081, 1, 1)
)
DRAWN = Path(__file__).parent.parent / "tuneserve" / "digits"
CANVAS = 280  # pixels a side, of the drawing fields of many demos


def main() -> None:
    given = _arguments().parse_args()
    drawn = [file.read_bytes() for file in sorted(DRAWN.glob("*.png"))]
    forms = [encode_png(prepare(decode(data, PIXELS), MNIST).pixels) for data in drawn]
    print("| image | images | to decode, ms | to prepare, ms: median (10 %-90 %) | both, ms of the clock |")
    print("|---|---|---|---|---|")
    _row("in MNIST's form", forms, given.rounds)
    _row("tuneserve/digits", drawn, given.rounds)
    _row("canvas drawing, 280x280", [_canvas(data) for data in forms], given.rounds)
    for name in ("uneven light", "shadow", "photo"):
        sheets = [HARDSHIPS[name](np.random.default_rng((0, seed)), _grey(data)) for seed, data in enumerate(forms)]
        _row(f"drawn with hardship: {name}", sheets, given.rounds)
    for folder in sorted(given.photos.iterdir()) if given.photos else ():
        _row(folder.name, [file.read_bytes() for file in sorted(folder.iterdir())], given.rounds)


def _row(name: str, files: Sequence[bytes], rounds: int) -> None:
    times = [_times(data) for _ in range(rounds) for data in files]
    decoding, preparing, clock = (sorted(1000 * seconds for seconds in column) for column in zip(*times, strict=True))
    least, most = np.percentile(preparing, [10, 90])
    print(f"| {name} | {len(files)} | {statistics.median(decoding):.1f} | {statistics.median(preparing):.1f} ", end="")
    print(f"({least:.1f}-{most:.1f}) | {statistics.median(clock):.1f} |", flush=True)


def _times(data: bytes) -> tuple[float, float, float]:
    """Measure an image's decoding and preprocessing times.

    They are processor seconds to decode and to preprocess, and wall-clock seconds for both.
    """
    clock, start = time.perf_counter(), time.thread_time()
    image = decode(data, PIXELS)
    image.load()
    decoded = time.thread_time()
    prepare(image, MNIST)
    return decoded - start, time.thread_time() - decoded, time.perf_counter() - clock


def _grey(data: bytes) -> np.ndarray:
    return np.asarray(decode(data, PIXELS))


def _canvas(data: bytes) -> bytes:
    """Draw a digit black on white, smooth like a browser's canvas."""
    large = Image.fromarray(_grey(data)).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    ink = ((np.asarray(large) / 255 - 0.42) * 7 + 0.5).clip(0, 1)
    return encode_png((255 - 255 * ink[..., None].repeat(3, 2)).round().astype(np.uint8))


def _arguments() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--photos", type=Path, help="folder of folders of pictures")
    options.add_argument("--rounds", type=int, default=10)
    return options


if __name__ == "__main__":
    main()
