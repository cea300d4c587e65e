"""Find a network's file of ImageNet weights.

Also say whether there is one or could be.
"""

from pathlib import Path
from typing import Literal

from core.networks import Network
from core.settings import Settings

Availability = Literal["available", "downloadable", "missing"]


def find(network: Network, settings: Settings) -> Path | None:
    """Return a network's file of ImageNet weights, or None.

    The file that the settings name comes before the one in the folder of weights.
    """
    if settings.weights_file is not None:
        return settings.weights_file
    folder = settings.resolved_weights_dir
    return next((folder / name for name in network.weights_files if (folder / name).is_file()), None)


def availability(network: Network, settings: Settings, failed: bool = False) -> Availability:
    """Check whether a worker with these settings can get the weights.

    ``failed``: their download has just failed.
    """
    if network.weights_file is None:
        return "available"  # embedded: they are installed with the worker
    if (file := find(network, settings)) is not None:
        return "available" if file.is_file() else "missing"
    return "missing" if failed or settings.offline else "downloadable"
