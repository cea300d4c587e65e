"""The preset "accurate", trained from the installed weights on a few small photos."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Job
from core.networks import EFFICIENTNET_LITE0
from core.repositories import events, models
from core.repositories.jobs import Claim
from core.settings import Settings
from worker import trainer
from worker.attempt.reporter import Reporter

SIDE, PHOTOS = 64, {"train": 8, "test": 6}  # of a class


@pytest.fixture
def striped(settings: Settings) -> str:
    """A data set of stripes, upright ones and level ones, of any colours."""
    random = np.random.default_rng(0)
    for part, count in PHOTOS.items():
        for label, axis in (("upright", 1), ("level", 0)):
            folder = settings.resolved_datasets_dir / "stripes" / part / label
            folder.mkdir(parents=True)
            for number in range(count):
                write_stripes(folder / f"{number}.png", axis, random)
    return "stripes"


def write_stripes(path: Path, axis: int, random: np.random.Generator) -> None:
    place = np.indices((SIDE, SIDE))[axis] + random.integers(0, 8)
    light, dark = random.integers(128, 256, 3), random.integers(0, 100, 3)
    pixels = np.where((place // random.integers(3, 7) % 2)[..., None], light, dark)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def test_a_few_photos_are_learned_by_the_head_and_then_by_the_whole_network(
    settings: Settings,
    db: Database,
    store: LocalStore,
    striped: str,
    claimed: Callable[..., Claim],
    job_of: Callable[[str], Job],
) -> None:
    quick = settings.model_copy(update={"train_threads": 1, "offline": True})
    small = {"dataset": striped, "network": EFFICIENTNET_LITE0, "image_size": SIDE, "epochs": 5, "device": "cpu"}
    claim = claimed(preset="accurate", **small)
    trainer.run(quick, db, store, Reporter(db, claim, quick.heartbeat_interval_s))
    with db.read() as session:
        model = models.find(session, str(job_of(claim.job_id).model_id))
        told = [event.data["message"] for event in events.after(session, claim.job_id, 0, 100, "log")]
    assert any(message.startswith("the head begins as fitted") for message in told)
    recipe = model.card["recipe"]
    assert (recipe["freeze"], recipe["unfreeze_after"], recipe["label_smoothing"]) == ("backbone", 3, 0.1)
    assert recipe["ema"] > 0
    assert model.card["test"]["correct"] >= 10  # of 12
