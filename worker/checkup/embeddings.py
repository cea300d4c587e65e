"""Compute the features of a data set's images by the embedded backbone."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from core.cpus import cpus
from core.imaging.preparation import Pixels, Preparation
from core.inference.network import ServingGraph, build, take_head
from core.networks import EFFICIENTNET_LITE0
from worker.attempt import embedded_weights
from worker.checkup.feature_files import FeatureFiles, Features, join
from worker.checkup.images import CheckedImages
from worker.checkup.near_duplicates import PICTURE
from worker.publishing.onnx_export import export_onnx

BLOCK = 256  # images whose features a killed process loses at most
BATCH = 16  # images that the network takes at a time
HALF = (0.5, 0.5, 0.5)
LIGHT = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def kind(side: int) -> str:
    """Return what features depend on: the weights, and the side of the images."""
    return f"{embedded_weights.SHA256[:8]}-{side}"


def embed(checked: CheckedImages, files: FeatureFiles, on_images: Callable[[int], None]) -> Features:
    """Return the features of all images, in their order.

    Those that files have are taken from there, the others are computed and kept. ``on_images`` is called with the
    number of images done; it may raise.
    """
    parts = files.load()
    kept = {digest for part in parts for digest in part.rows()}
    first = {image.digest: row for row, image in reversed([*enumerate(checked.images)])}
    missing = [row for digest, row in first.items() if digest not in kept]
    done = len(checked.images) - len(missing)
    on_images(done)
    for block in _compute(checked, missing):
        files.save(block)
        parts.append(block)
        done += len(block)
        on_images(done)
    found = join(*parts)
    rows = found.rows()
    if len(parts) > 1 or len(rows) > len(first):
        files.keep(found.some(np.array([rows[digest] for digest in first])))
    return found.some(np.array([rows[image.digest] for image in checked.images]))


def _compute(checked: CheckedImages, rows: Sequence[int]) -> Iterator[Features]:
    if not rows:
        return
    backbone = Backbone(checked.side)
    with ThreadPoolExecutor(cpus()) as pool:  # decoding releases the GIL
        for start in range(0, len(rows), BLOCK):
            some = rows[start : start + BLOCK]
            images = np.stack([*pool.map(lambda row: checked.read(row, checked.side), some)])
            digests = b"".join(bytes.fromhex(checked.images[row].digest) for row in some)
            yield Features(
                np.frombuffer(digests, np.uint8).reshape(-1, 32),
                backbone(images).astype(np.float16),
                small_pictures(images),
            )


class Backbone:
    """EfficientNet-Lite0 without its head, as a graph of ONNX Runtime.

    On a CPU it takes half of torch's time.
    """

    def __init__(self, side: int) -> None:
        network = build(EFFICIENTNET_LITE0, embedded_weights.CLASSES)
        network.load_state_dict(embedded_weights.load())
        take_head(network)
        form = Preparation(style="photo", height=side, width=side, channels=3, image_size=side, mean=HALF, std=HALF)
        images = torch.zeros(2, side, side, 3, dtype=torch.uint8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpus()
        graph = export_onnx(ServingGraph(form, network).eval(), images)
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: Pixels) -> npt.NDArray[np.float32]:
        """Return features, n x d, of uint8 n x side x side x 3."""
        batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        return np.concatenate([self._session.run(None, {"images": batch})[0] for batch in batches])


def small_pictures(images: Pixels) -> npt.NDArray[np.uint8]:
    """Make small grey pictures, n x PICTURE x PICTURE; the sides are multiples of it."""
    count, cell = len(images), images.shape[1] // PICTURE
    grey = images.astype(np.float32) @ LIGHT
    mean = grey.reshape(count, PICTURE, cell, PICTURE, cell).mean((2, 4))
    return np.asarray(mean.round(), np.uint8)
