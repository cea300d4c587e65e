"""TensorBoard event files for jobs, if the extra ``tensorboard`` is installed.

They lie in the job's folder and are deleted with it; ``tensorboard --logdir tuneserve-data/jobs`` shows all jobs.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

TAGS = {  # a metric and what TensorBoard calls it; a slash puts both curves in one group
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "validation_accuracy": "accuracy/validation",
    "learning_rate": "learning_rate",
    "images_per_s": "images_per_s",
}


def is_installed() -> bool:
    return find_spec("tensorboard") is not None


class TensorBoardWriter:
    """Writes one point of each curve per epoch."""

    def __init__(self, data_dir: Path, job_id: str) -> None:
        self._folder = data_dir / "jobs" / job_id / "tensorboard"
        self._writer: SummaryWriter | None = None

    def __call__(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind != "metrics":
            return
        epoch = data["epoch"]
        self._writer = self._writer or self._open(epoch)
        for metric, tag in TAGS.items():
            if data[metric] is not None:
                self._writer.add_scalar(tag, data[metric], epoch)
        self._writer.flush()

    def _open(self, epoch: int) -> "SummaryWriter":
        """Open a file for this attempt.

        TensorBoard then drops earlier attempts' points from this epoch on.
        """
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self._folder, purge_step=epoch)
