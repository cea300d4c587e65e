"""Features of the images that a model was trained on, to find those like another."""

import numpy as np
import numpy.typing as npt

TINY = 1e-12  # length of features below which they have no direction
Features = npt.NDArray[np.float32]  # n x d


def directions(features: Features) -> Features:
    """Scale the features of each image to length 1."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, TINY), np.float32)
