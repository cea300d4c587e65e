"""worker.attempt.checkpointing: what an attempt leaves, and the next one resumes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from core.artifacts import manifest
from core.artifacts.manifest import read_manifest
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Checkpoint, Job
from core.errors import ClaimLost
from core.imaging.preparation import Preparation
from core.inference.network import Prepare
from core.recipes.recipe import ResolvedRecipe
from core.repositories import checkpoints, events, jobs
from core.repositories.jobs import Claim
from core.settings import Settings
from tests.conftest import NOW
from worker.attempt import checkpointing
from worker.attempt.checkpointing import best_epoch, load_best, resume, save, save_mid_epoch
from worker.attempt.reporter import Reporter
from worker.attempt.setup import TrainingContext, TrainingState, should_time_steps
from worker.data.datasets.dataset import Dataset
from worker.data.splits import split
from worker.evaluation.metrics import Evaluation
from worker.training.fit import Epoch
from worker.training.mid_epoch import MidEpoch, step_of

CPU = torch.device("cpu")
PREPARATION = Preparation(
    style="plain", height=4, width=4, channels=1, image_size=4, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
)
RECIPE = ResolvedRecipe(
    dataset="digits",
    image_size=4,
    epochs=9,
    batch_size=4,
    learning_rate=0.1,
    augmentation="none",
    precision="fp32",
    device="cpu",
)


@dataclass
class Attempt:
    """An attempt as it goes on: every change is a new state."""

    context: TrainingContext
    state: TrainingState

    @property
    def job_id(self) -> str:
        return self.context.report.claim.job_id

    def resume(self, after_an_epoch: bool = False) -> str | None:
        """Resume; return the checkpoint's id, or None if nothing changed.

        The id is the one that the job has.
        """
        before, self.state = self.state, resume(self.context, self.state, after_an_epoch)
        if self.state is before:
            return None
        with self.context.db.read() as session:
            return jobs.get(session, self.job_id).resumed_from

    def load_best(self) -> int:
        return int(load_best(self.context, self.state)["epoch"])


MakeTraining = Callable[..., Attempt]


def dataset(first: int = 0) -> Dataset:
    images = np.arange(first, first + 8 * 16, dtype=np.uint8).reshape(8, 4, 4, 1)
    labels = np.arange(8) % 2
    return Dataset("digits", "plain", 4, ("even", "odd"), images, labels, images, labels)


@pytest.fixture
def training(settings: Settings, db: Database, store: LocalStore, claimed: Callable[..., Claim]) -> MakeTraining:
    """A factory of attempts of one job with a tiny network.

    Every call hands the job to the next attempt.
    """
    first = claimed()

    def make(number: int = 1, data: Dataset | None = None) -> Attempt:
        if number > 1:
            with db.write() as session:
                jobs.release(session, Claim(first.job_id, number - 1), "test", NOW)
                assert jobs.claim(session, "worker_a", NOW) == Claim(first.job_id, number)
        torch.manual_seed(number)
        context = TrainingContext(
            settings=settings,
            db=db,
            store=store,
            report=Reporter(db, Claim(first.job_id, number), 1.0, lambda: NOW),
            device=CPU,
            dataset=data or dataset(),
            splits=split(data or dataset(), None, 0.25, 0),
            preparation=PREPARATION,
            prepare=Prepare(PREPARATION),
            network=nn.Linear(3, 2),
            frozen=(),
            weights_license=None,
            queued_s=0.0,
        )
        return Attempt(context, TrainingState(RECIPE))

    return make


def chosen_by(accuracy: float | None, images: int) -> dict[str, float | None]:
    """Score and standard error as the trainer writes them."""
    if accuracy is None:
        return {"validation_score": None, "validation_score_error": None}
    right = round(accuracy * images)
    found = Evaluation(loss=1.0, accuracy=accuracy, confusion_matrix=[[right, images - right], [0, 0]])
    return {"validation_score": accuracy, "validation_score_error": found.accuracy_error}


def finish_epoch(
    attempt: Attempt, number: int, accuracy: float | None = 0.5, loss: float = 1.0, images: int = 5000
) -> None:
    """End an epoch as the trainer does.

    It leaves weights that tell which epoch it was, a line of history, and a checkpoint.
    """
    with torch.no_grad():
        for parameter in attempt.context.network.parameters():
            parameter.fill_(number)
    metrics: dict[str, Any] = {
        "epoch": number,
        "validation_images": images,
        "validation_accuracy": accuracy,
        **chosen_by(accuracy, images),
        "validation_loss": loss,
        "features_s": 0.0,
    }
    attempt.state = replace(attempt.state, history=(*attempt.state.history, metrics))
    momentum = {"0.momentum_buffer": np.full((2, 3), number, np.float32)}
    epoch = Epoch(number, number * 2, 1.0, 0.5, 0.1, seconds=1.0, images_per_s=8.0, data_wait_s=0.0, state=momentum)
    save(attempt.context, attempt.state, epoch)


def rows(attempt: Attempt) -> list[Checkpoint]:
    with attempt.context.db.read() as session:
        return checkpoints.of_job(session, attempt.job_id)


def weights_of(attempt: Attempt) -> set[float]:
    return {float(value) for tensor in attempt.context.network.state_dict().values() for value in tensor.flatten()}


def test_a_checkpoint_is_a_row_whose_bytes_are_there(training: MakeTraining, store: LocalStore) -> None:
    attempt = training()
    finish_epoch(attempt, 1, accuracy=0.75)
    (row,) = rows(attempt)
    assert (row.epoch, row.attempt, row.metrics["validation_accuracy"]) == (1, 1, 0.75)
    files = read_manifest(store, row.key)["files"]
    assert row.size_bytes == sum(file["size_bytes"] for file in files.values()) > 0
    assert row.key == f"jobs/{attempt.job_id}/checkpoints/001/00000002"
    for name in files:
        manifest.fetch_checked(store, row.key, name)


def test_its_event_comes_with_the_row(training: MakeTraining) -> None:
    attempt = training()
    finish_epoch(attempt, 1)
    (row,) = rows(attempt)
    with attempt.context.db.read() as session:
        last = events.after(session, attempt.job_id, 0, 100)[-1]
    assert (last.kind, last.data) == ("checkpoint", {"id": row.id, "epoch": 1, "step": 2, "size_bytes": row.size_bytes})


def test_the_manifest_explains_the_run(training: MakeTraining, store: LocalStore) -> None:
    attempt = training()
    finish_epoch(attempt, 1)
    manifest = read_manifest(store, rows(attempt)[0].key)
    assert manifest["recipe"] == RECIPE.model_dump(mode="json")
    assert manifest["dataset_digest"] == dataset().digest
    assert manifest["preparation"] == PREPARATION.model_dump(mode="json")
    assert manifest["versions"]["torch"] == torch.__version__
    assert (manifest["epoch"], manifest["classes"]) == (1, ["even", "odd"])


def test_the_newest_are_kept_and_the_rest_goes_with_its_bytes(training: MakeTraining, settings: Settings) -> None:
    attempt = training()
    for number in range(1, 6):
        finish_epoch(attempt, number, accuracy=number / 10)  # ever better
    assert [row.epoch for row in rows(attempt)] == [5, 4]
    folders = settings.data_dir.glob("jobs/*/checkpoints/001/*")
    assert sorted(folder.name for folder in folders) == ["00000008", "00000010"]


def test_the_best_is_kept_however_old(training: MakeTraining, store: LocalStore) -> None:
    attempt = training()
    for number, accuracy in enumerate((0.5, 0.9, 0.6, 0.7, 0.8), start=1):
        finish_epoch(attempt, number, accuracy)
    assert [row.epoch for row in rows(attempt)] == [5, 4, 2]
    assert attempt.load_best() == 2
    assert weights_of(attempt) == {2.0}


def test_the_best_does_not_drift_away_as_older_ones_are_dropped(training: MakeTraining) -> None:
    attempt = training()
    for number, accuracy in enumerate((0.98, 0.96, 0.94, 0.92, 0.90), start=1):
        finish_epoch(attempt, number, accuracy, images=144)
    assert best_epoch(attempt.state.history)["epoch"] == 2
    assert attempt.load_best() == 2
    assert weights_of(attempt) == {2.0}


def test_where_the_best_is_lost_the_best_of_the_rest_is_taken(training: MakeTraining, store: LocalStore) -> None:
    dead = training()
    for number, accuracy in enumerate((0.6, 0.9, 0.8, 0.7, 0.95), start=1):
        finish_epoch(dead, number, accuracy)
    assert [row.epoch for row in rows(dead)] == [5, 4]
    store.fetch(f"{rows(dead)[0].key}/weights.safetensors").write_bytes(b"cut off")
    attempt = training(2)
    attempt.resume()
    assert attempt.load_best() == 4  # of four epochs the second was best: it was dropped when the fifth came


def test_the_best_may_be_what_is_in_the_network_already(training: MakeTraining, store: LocalStore) -> None:
    attempt = training()
    for number in (1, 2):
        finish_epoch(attempt, number, accuracy=number / 10)
    store.delete(f"jobs/{attempt.job_id}")  # nothing has to be read
    assert attempt.load_best() == 2
    assert weights_of(attempt) == {2.0}


@pytest.mark.parametrize(
    ("images", "results", "best"),
    [
        (5000, [(0.5, 1.0), (0.9, 1.0), (0.7, 0.1)], 2),  # the highest accuracy
        (5000, [(0.9, 1.0), (0.9, 0.5), (0.9, 0.7)], 2),  # among equals the lowest loss
        (5000, [(0.9, 1.0), (0.9, 0.5), (0.9, 0.5)], 3),  # of the same loss the newest
        (5000, [(0.9, 0.4), (0.899, 0.5)], 2),  # five images of 5,000 are chance
        (5000, [(0.9, 0.4), (0.88, 0.3)], 1),  # a hundred are not
        (18, [(1.0, 0.5), (17 / 18, 0.3), (17 / 18, 0.2)], 3),  # one of 18 photos is
        (18, [(1.0, 0.5), (17 / 18, 0.2), (14 / 18, 0.9)], 2),  # four are not
        (18, [(None, None), (None, None)], 2),  # nothing to choose by: the last
    ],
)
def test_the_best_epoch(images: int, results: list[tuple[float | None, float | None]], best: int) -> None:
    history = [
        {"epoch": number, **chosen_by(accuracy, images), "validation_loss": loss}
        for number, (accuracy, loss) in enumerate(results, start=1)
    ]
    assert best_epoch(history)["epoch"] == best


def test_a_first_attempt_has_nothing_to_go_on_from(training: MakeTraining) -> None:
    attempt = training()
    before = weights_of(attempt)
    assert attempt.resume() is None
    assert weights_of(attempt) == before
    assert attempt.state == TrainingState(RECIPE)


def test_the_next_attempt_goes_on_from_where_the_last_one_was(
    training: MakeTraining, job_of: Callable[[str], Job]
) -> None:
    dead = training()
    for number in (1, 2, 3):
        finish_epoch(dead, number)
    attempt = training(2)
    resumed = attempt.resume()
    assert resumed == rows(dead)[0].id
    assert weights_of(attempt) == {3.0}
    assert attempt.state.history == dead.state.history
    assert attempt.state.optimizer_state is not None
    np.testing.assert_array_equal(attempt.state.optimizer_state["0.momentum_buffer"], np.full((2, 3), 3.0))
    assert job_of(attempt.job_id).resumed_from == resumed


def test_it_goes_on_with_the_recipe_it_began_with_on_the_device_there_is(training: MakeTraining) -> None:
    dead = training()
    dead.state = TrainingState(RECIPE.model_copy(update={"precision": "bf16", "device": "cuda:3"}))
    finish_epoch(dead, 1)
    attempt = training(2)
    attempt.resume()
    assert attempt.state.recipe == RECIPE.model_copy(update={"precision": "bf16", "device": "cpu"})


def test_the_recipe_that_it_goes_on_with_is_the_one_that_is_shown(
    training: MakeTraining, job_of: Callable[[str], Job]
) -> None:
    dead = training()
    dead.state = TrainingState(RECIPE.model_copy(update={"batch_size": 2}))  # after memory had run out
    finish_epoch(dead, 1)
    attempt = training(2)
    attempt.resume()
    assert job_of(attempt.job_id).resolved_recipe == dead.state.recipe.model_dump(mode="json")


def test_batch_sizes_are_not_tried_again_when_it_goes_on(training: MakeTraining) -> None:
    first, cuda = training(), torch.device("cuda")
    assert should_time_steps(replace(first.context, device=cuda))
    assert not should_time_steps(first.context)
    assert not should_time_steps(replace(first.context, device=cuda, frozen=("0",)))
    finish_epoch(first, 1)
    assert not should_time_steps(replace(training(2).context, device=cuda))


def test_a_damaged_checkpoint_is_passed_over(training: MakeTraining, store: LocalStore) -> None:
    dead = training()
    for number in (1, 2):
        finish_epoch(dead, number)
    newest = rows(dead)[0]
    store.fetch(f"{newest.key}/state.safetensors").write_bytes(b"cut off")
    attempt = training(2)
    assert attempt.resume() == rows(dead)[1].id
    assert weights_of(attempt) == {1.0}
    assert [metrics["epoch"] for metrics in attempt.state.history] == [1]


def test_an_epoch_that_was_done_twice_is_the_later_attempts(training: MakeTraining, store: LocalStore) -> None:
    dead = training()
    for number, accuracy in ((1, 0.1), (2, 0.9)):
        finish_epoch(dead, number, accuracy)
    store.fetch(f"{rows(dead)[0].key}/weights.safetensors").write_bytes(b"cut off")
    attempt = training(2)
    attempt.resume()
    finish_epoch(attempt, 2, accuracy=0.9)
    finish_epoch(attempt, 3, accuracy=0.3)
    assert [(row.attempt, row.epoch) for row in rows(attempt)][:2] == [(2, 3), (2, 2)]
    assert attempt.load_best() == 2
    assert weights_of(attempt) == {2.0}


def test_other_data_is_begun_anew_and_said_so(training: MakeTraining) -> None:
    dead = training()
    for number in (1, 2, 3):
        finish_epoch(dead, number)
    attempt = training(2, dataset(first=1))
    assert attempt.resume() is None
    assert attempt.state == TrainingState(RECIPE)
    with attempt.context.db.read() as session:
        last = events.after(session, attempt.job_id, 0, 100)[-1]
    assert "other data" in last.data["message"]


def test_a_new_beginning_is_gone_on_from_rather_than_what_came_before(training: MakeTraining) -> None:
    dead = training()
    for number in (1, 2, 3):
        finish_epoch(dead, number)
    attempt = training(2, dataset(first=1))
    attempt.resume()
    finish_epoch(attempt, 1)
    assert training(3, dataset(first=1)).resume() == rows(attempt)[0].id


def test_a_late_attempt_leaves_no_row(training: MakeTraining) -> None:
    late = training()
    finish_epoch(late, 1)
    now = training(2)
    with pytest.raises(ClaimLost):
        finish_epoch(late, 2)
    assert [row.epoch for row in rows(now)] == [1]


def test_a_late_attempt_throws_nothing_away(training: MakeTraining, settings: Settings) -> None:
    late = training()
    for number in (1, 2):
        finish_epoch(late, number, accuracy=number / 10)
    kept = rows(late)
    now = training(2)
    few = settings.model_copy(update={"keep_checkpoints": 1})
    with pytest.raises(ClaimLost):
        checkpointing._prune(replace(late.context, settings=few), late.state)
    assert [row.id for row in rows(now)] == [row.id for row in kept]


def stop_mid_epoch(attempt: Attempt, step: int) -> None:
    """Save a checkpoint within an epoch, as the trainer does."""
    with torch.no_grad():
        for parameter in attempt.context.network.parameters():
            parameter.fill_(step / 10)
    save_mid_epoch(attempt.context, attempt.state, MidEpoch(step, {"mid_epoch.step": np.asarray(step)}))


def test_of_checkpoints_within_an_epoch_there_is_one(training: MakeTraining) -> None:
    attempt = training()
    finish_epoch(attempt, 1)
    stop_mid_epoch(attempt, 3)
    assert next((row.epoch, row.step, row.metrics) for row in rows(attempt)) == (1, 3, {})
    finish_epoch(attempt, 2)
    stop_mid_epoch(attempt, 5)
    assert [(row.epoch, row.step) for row in rows(attempt)] == [(2, 5), (2, 4), (1, 2)]


def test_a_run_goes_on_from_within_an_epoch_where_that_is_newest(training: MakeTraining) -> None:
    first = training()
    finish_epoch(first, 1)
    stop_mid_epoch(first, 3)
    second = training(2)
    second.resume()
    assert sorted(weights_of(second)) == pytest.approx([0.3])
    assert (len(second.state.history), step_of(second.state.optimizer_state)) == (1, 3)


def test_with_another_batch_size_it_goes_on_from_a_whole_epoch(training: MakeTraining) -> None:
    first = training()
    finish_epoch(first, 1)
    stop_mid_epoch(first, 3)
    second = training(2)
    second.resume(after_an_epoch=True)
    assert (weights_of(second), step_of(second.state.optimizer_state)) == ({1.0}, None)


def test_what_an_interrupted_run_keeps_is_its_best_whole_epoch(training: MakeTraining) -> None:
    attempt = training()
    finish_epoch(attempt, 1)
    stop_mid_epoch(attempt, 3)
    attempt.state = replace(attempt.state, interrupted=True)
    assert attempt.load_best() == 1
    assert weights_of(attempt) == {1.0}


def test_a_retry_goes_on_from_the_checkpoints_of_the_job_that_it_retries(
    training: MakeTraining, db: Database, claimed: Callable[..., Claim]
) -> None:
    old = training()
    finish_epoch(old, 1, accuracy=0.9)
    finish_epoch(old, 2, accuracy=0.1)
    new = training()
    new.context.report.claim = claimed("worker_b")
    with db.write() as session:
        jobs.get(session, new.job_id).retry_of = old.job_id
    new.resume()
    assert weights_of(new) == {2.0}
    finish_epoch(new, 3, accuracy=0.2)
    assert new.load_best() == 1
    assert weights_of(new) == {1.0}
    assert [row.epoch for row in rows(old)] == [2, 1]
