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
COPIES = 256  # partly hidden ones; the paper takes thousands, of larger images
CELLS = 7  # a side: the grid of a mask
SHOWN = 0.5  # share of its cells that show the image
CHUNK = 32  # copies asked at a time, so that other people's images come in between
SIDE = 224  # of the picture, at least
OPACITY = 0.6
# from dark to light, so that it reads in grey too: matplotlib's inferno at five places
COLOURS = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], np.float32)


async def saliency_map(
    pixels: Pixels, class_index: int, ask: Callable[[Sequence[Pixels]], Awaitable[Weights]], threads: Executor
) -> str:
    """Return a PNG in base64 that shows what the class rests on.

    It is the canonical image under colours, light where hiding it costs the class most. ``ask``: canonical images ->
    probabilities, n x classes. All that is computed here is computed in ``threads``: of a photo it takes 0.2 s at a
    time.
    """
    run = asyncio.get_running_loop().run_in_executor
    masks = await run(threads, random_masks, *pixels.shape[:2])
    scores = []
    for start in range(0, COPIES, CHUNK):
        copies = await run(threads, _partly_hidden, pixels, masks, start)
        scores.append((await ask(copies))[:, class_index])
    return await run(threads, _picture, pixels, masks, scores)


def random_masks(height: int, width: int, seed: int = 0) -> Weights:
    """Make random masks from 0 (hidden) to 1.

    They are COPIES x height x width: coarse grids, enlarged smoothly and shifted by less than a cell.
    """
    random = np.random.default_rng(seed)
    cell_h, cell_w = -(-height // CELLS), -(-width // CELLS)
    size = ((CELLS + 1) * cell_w, (CELLS + 1) * cell_h)
    masks = []
    for grid in random.random((COPIES, CELLS + 1, CELLS + 1)) < SHOWN:
        large = np.asarray(Image.fromarray(grid.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
        top, left = random.integers(cell_h), random.integers(cell_w)
        masks.append(large[top : top + height, left : left + width])
    return np.stack(masks)


def _partly_hidden(pixels: Pixels, masks: Weights, start: int) -> list[Pixels]:
    """Make the copies of one chunk, partly hidden.

    What is hidden looks like the paper.
    """
    paper = np.median(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]), axis=0)
    shown = masks[start : start + CHUNK, :, :, None]
    return list((pixels * shown + paper * (1 - shown)).round().astype(np.uint8))


def weigh(masks: Weights, scores: Weights) -> Weights:
    """Weigh each place by how much it speaks for the class.

    The result is height x width, 0 to 1: how much likelier the class is where a place is shown than where it is hidden.
    """
    heat = np.tensordot(scores - scores.mean(), masks - masks.mean(0), 1)
    heat = heat - heat.min()
    return np.asarray(heat / max(float(heat.max()), 1e-9), np.float32)


def _picture(pixels: Pixels, masks: Weights, scores: Sequence[Weights]) -> str:
    heat = weigh(masks, np.concatenate(scores))
    grey = pixels.mean(2, keepdims=True).repeat(3, 2)
    places = np.linspace(0, 1, len(COLOURS))
    colours = np.stack([np.interp(heat, places, COLOURS[:, channel]) for channel in range(3)], 2)
    mixed = Image.fromarray((grey * (1 - OPACITY) + colours * OPACITY).round().astype(np.uint8))
    scale = -(-SIDE // max(mixed.size))
    file = io.BytesIO()
    mixed.resize((mixed.width * scale, mixed.height * scale), Image.Resampling.BICUBIC).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
