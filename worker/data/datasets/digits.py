"""The embedded data set: 1,797 handwritten digits of 8x8 pixels.

The test part of UCI optdigits; digits.md has source and licence.
"""

import gzip
from functools import cache
from pathlib import Path

import numpy as np

from core.imaging.digits.mnist_format import centre_in_frame
from core.settings import Settings
from worker.data.datasets.dataset import Dataset

FILE = Path(__file__).with_name("digits.csv.gz")  # 64 pixels 0..16 and the label a line
TEST_ROWS = Path(__file__).with_name("digits_test.txt")  # sklearn's train_test_split: test_size=360, stratify, seed 0


def load(_settings: Settings) -> Dataset:
    """Load the digits in MNIST's 28x28 form.

    1,437 training and 360 test images, stratified and fixed.
    """
    return _digits()


@cache  # that form costs 0.4 s
def _digits() -> Dataset:
    with gzip.open(FILE) as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    images = np.stack([centre_in_frame(row.reshape(8, 8) / 16) for row in rows[:, :64]])
    labels = rows[:, 64].astype(np.int64)
    test = np.loadtxt(TEST_ROWS.read_text().split(), dtype=np.int64)
    train = np.setdiff1d(np.arange(len(rows)), test)
    return Dataset(
        name="digits",
        style="digit",
        detail=8,
        classes=tuple(str(digit) for digit in range(10)),
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
    )
