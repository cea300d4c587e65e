"""Draw a saliency map by RISE: predict partly hidden copies.

So it explains the very graph that answers, on any device and for any network, without gradients and without torch.
Source: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models".
"""

import asyncio
import base64
import io
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt
from PIL import Image

from core.imaging.preparation import Pixels

Weights = npt.NDArray[np.float32]
Sums = npt.NDArray[np.float64]
COPIES = 256  # partly hidden ones; the paper takes thousands, of larger images
CELLS = 7  # a side: the grid of a mask
SHOWN = 0.5  # share of its cells that show the image
CHUNK = 32  # copies classified at a time, so that other requests' images come in between
SIDE = 224  # of the picture, at least
OPACITY = 0.6
LEAST = 1e-9  # of a probability: less is rounding
# from dark to light, so that it reads in grey too: matplotlib's inferno at five places
COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)


async def saliency_map(
    pixels: Pixels, class_index: int, predict: Callable[[Sequence[Pixels]], Awaitable[Weights]], threads: Executor
) -> str:
    """Return a PNG in base64 that shows what the class rests on.

    It is the canonical image under colours, light where hiding it costs the class most. ``predict``: canonical images
    to probabilities, n x classes. All that is computed here is computed in ``threads``: of a photo it takes 0.2 s at a
    time.
    """
    run = asyncio.get_running_loop().run_in_executor
    heat, (height, width) = Heat(), pixels.shape[:2]
    for chunk in range(COPIES // CHUNK):
        masks = await run(threads, random_masks, height, width, chunk)
        copies = await run(threads, _partly_hidden, pixels, masks)
        await run(threads, heat.add, masks, (await predict(copies))[:, class_index])
    return await run(threads, _picture, pixels, heat)


class Heat:
    """Accumulator of a saliency map from masks and the scores under them.

    A place counts by how much likelier the class is where it is shown than where it is hidden.

    All masks of a photo of 512 pixels would take 268 MB.
    """

    def __init__(self) -> None:
        self._shown: Sums = np.zeros(())  # of each place, the sum of the masks
        self._weighted: Sums = np.zeros(())  # and of the masks times their scores
        self._scores: list[float] = []

    def add(self, masks: Weights, scores: Weights) -> None:
        for mask, score in zip(masks, scores.tolist(), strict=True):
            self._shown = self._shown + mask
            self._weighted = self._weighted + score * mask.astype(np.float64)
        self._scores += scores.tolist()

    def map(self) -> Weights:
        """Return the map, height x width, from 0 to 1; all 0 where no place matters."""
        heat = self._weighted - np.mean(self._scores) * self._shown
        heat = heat - heat.min()
        high = float(heat.max())
        return np.asarray(heat / high if high > LEAST else np.zeros_like(heat), np.float32)


def random_masks(height: int, width: int, chunk: int) -> Weights:
    """Make the random masks of a chunk, from 0 (hidden) to 1.

    They are CHUNK x height x width: coarse grids, enlarged smoothly and shifted by less than a cell.
    """
    random = np.random.default_rng(chunk)
    cell_h, cell_w = -(-height // CELLS), -(-width // CELLS)
    size = ((CELLS + 1) * cell_w, (CELLS + 1) * cell_h)
    masks = []
    for grid in random.random((CHUNK, CELLS + 1, CELLS + 1)) < SHOWN:
        large = np.asarray(Image.fromarray(grid.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
        top, left = random.integers(cell_h), random.integers(cell_w)
        masks.append(large[top : top + height, left : left + width])
    return np.stack(masks)


def _partly_hidden(pixels: Pixels, masks: Weights) -> list[Pixels]:
    """Make the copies of one chunk, partly hidden.

    What is hidden looks like the paper.
    """
    paper = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]), axis=0)
    shown = masks[..., None]
    return list((pixels * shown + paper * (1 - shown)).round().astype(np.uint8))


def _picture(pixels: Pixels, found: Heat) -> str:
    heat = found.map()
    grey = pixels.mean(2, keepdims=True).repeat(3, 2)
    places = np.linspace(0, 1, len(COLOURS))
    colours = np.stack([np.interp(heat, places, COLOURS[:, channel]) for channel in range(3)], 2)
    mixed = Image.fromarray((grey * (1 - OPACITY) + colours * OPACITY).round().astype(np.uint8))
    scale = -(-SIDE // max(mixed.size))
    file = io.BytesIO()
    mixed.resize((mixed.width * scale, mixed.height * scale), Image.Resampling.BICUBIC).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
