"""The embedded default: 1,797 handwritten digits, 8x8, that scikit-learn ships (UCI optdigits, test part)."""

import numpy as np

from core.digits.form import centre_in_frame
from core.settings import Settings
from worker.datasets.dataset import Dataset

SPLIT_SEED = 0
TEST_SAMPLES = 360


def load(_settings: Settings) -> Dataset:
    """1,437 training and 360 test images, class-balanced, always the same ones; in MNIST's 28x28 form."""
    from sklearn.datasets import load_digits  # slow to import, and only this data set needs it
    from sklearn.model_selection import train_test_split

    source = load_digits()
    images = np.stack([centre_in_frame(image / 16) for image in source.images])
    labels = source.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=TEST_SAMPLES, random_state=SPLIT_SEED, stratify=labels
    )
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
