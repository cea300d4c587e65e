"""worker.training.fit: fit() learns, repeats itself to the bit, and resumes.

It goes on as if it had never stopped.
"""

import copy
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import worker.training.fit
from core.artifacts.manifest import from_tensors, read_tensors, write_folder
from core.artifacts.store import LocalStore
from core.errors import LossNotFinite
from core.imaging.preparation import Preparation
from core.inference.network import Prepare, from_arrays, to_arrays
from core.recipes.recipe import ResolvedRecipe
from core.settings import Settings
from tests.conftest import missing
from worker.data import augmentation
from worker.data.datasets.digits import load
from worker.data.splits import Split, batches, split
from worker.training.fit import Callbacks, Epoch, FitOptions, Interrupted, Progress, fit
from worker.training.mid_epoch import MidEpoch
from worker.training.optimizer import Arrays, ScaledOptimizer

CPU = torch.device("cpu")
PREPARE = Prepare(
    Preparation(
        style="digit", height=28, width=28, channels=1, image_size=16, mean=(0.1, 0.1, 0.1), std=(0.3, 0.3, 0.3)
    )
)


@pytest.fixture(scope="module")
def digits() -> Split:
    return split(load(Settings()), 256, 0.0, seed=0).train


def recipe(**fields: Any) -> ResolvedRecipe:
    decided: dict[str, Any] = {
        "image_size": 16,
        "epochs": 3,
        "batch_size": 64,
        "learning_rate": 0.05,
        "augmentation": "none",
        "precision": "fp32",
        "device": "cpu",
    }
    return ResolvedRecipe.model_validate(decided | fields)


def network() -> nn.Sequential:
    """Make a small network with all that matters.

    It has kernels in channels_last, BatchNorm's buffers, and chance.
    """
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(16 * 9, 10),
    )
    return layers.to(memory_format=torch.channels_last)


def run(net: nn.Module, part: Split, **fields: Any) -> list[Epoch]:
    return list(fit(net, PREPARE, part, recipe(**fields), CPU))


def assert_bit_identical(one: nn.Module, other: nn.Module) -> None:
    theirs: Mapping[str, Tensor] = other.state_dict()
    different = [name for name, tensor in one.state_dict().items() if not torch.equal(tensor, theirs[name])]
    assert different == []


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_loss_goes_down_and_the_accuracy_up(digits: Split, optimizer: str) -> None:
    rate = 0.05 if optimizer == "sgd" else 0.005
    first, *_, last = run(network(), digits, optimizer=optimizer, learning_rate=rate, epochs=8)
    assert last.loss < first.loss / 2
    assert last.accuracy > 0.8 > first.accuracy


def test_epochs_are_numbered_and_count_their_steps(digits: Split) -> None:
    epochs = run(network(), digits)
    assert [(epoch.number, epoch.step) for epoch in epochs] == [(1, 4), (2, 8), (3, 12)]
    assert all(epoch.seconds > 0 and epoch.images_per_s > 0 for epoch in epochs)


def test_what_is_reported_is_the_mean_over_the_epochs_images(digits: Split) -> None:
    net = network()
    net[6] = nn.Identity()  # without dropout, so that it can be computed anew
    (epoch,) = run(net, digits, epochs=1, batch_size=128, learning_rate=1e-9)  # two steps that change nothing
    halves = [Split(*batch) for batch in batches(digits, 128, 0, 0)]
    logits = torch.cat([net.train()(PREPARE(half.images)) for half in halves])
    labels = torch.cat([half.labels for half in halves])
    assert epoch.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)
    assert epoch.accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item(), abs=0.005)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_trains_the_same_network_to_the_bit(digits: Split, precision: str) -> None:
    one, other = network(), network()
    first = run(one, digits, precision=precision, seed=5)
    torch.rand(100)  # what others draw from the common generator does not matter
    second = run(other, digits, precision=precision, seed=5)
    assert_bit_identical(one, other)
    assert [epoch.loss for epoch in first] == [epoch.loss for epoch in second]


def test_another_seed_trains_another_network(digits: Split) -> None:
    one, other = network(), network()
    run(one, digits, seed=5, epochs=1)
    run(other, digits, seed=6, epochs=1)
    assert not torch.equal(one.state_dict()["0.weight"], other.state_dict()["0.weight"])


def through_the_disk(folder: Path, name: str, arrays: Arrays) -> Arrays:
    """Return arrays as a checkpoint keeps them: in C order.

    That holds whatever the layout was.
    """
    store = LocalStore(folder)
    write_folder(store, name, {"t": from_tensors(arrays)}, {})
    return read_tensors(store, name, "t")


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("done", [1, 2])
def test_a_resumed_run_ends_in_the_same_bits_as_one_that_was_never_stopped(
    digits: Split, tmp_path: Path, optimizer: str, done: int
) -> None:
    whole, stopped, resumed = network(), network(), network()
    run(whole, digits, optimizer=optimizer, learning_rate=0.01)
    *_, last = islice(fit(stopped, PREPARE, digits, recipe(optimizer=optimizer, learning_rate=0.01), CPU), done)
    resumed.load_state_dict(from_arrays(through_the_disk(tmp_path, "weights", to_arrays(stopped))))
    state = through_the_disk(tmp_path, "optimizer", last.state)
    again = recipe(optimizer=optimizer, learning_rate=0.01)
    rest = list(fit(resumed, PREPARE, digits, again, CPU, FitOptions(done, state=state)))
    assert [epoch.number for epoch in rest] == list(range(done + 1, 4))
    assert_bit_identical(resumed, whole)


@pytest.mark.parametrize("fields", [{}, {"optimizer": "adam"}, {"ema": 0.9}, {"schedule": "step"}])
@pytest.mark.parametrize("steps", [1, 6])
def test_a_run_stopped_within_an_epoch_goes_on_to_the_same_bits_and_figures(
    digits: Split, tmp_path: Path, fields: dict[str, Any], steps: int
) -> None:
    whole, stopped, resumed = network(), network(), network()
    wanted = list(fit(whole, PREPARE, digits, recipe(**fields), CPU, FitOptions(augment=augmentation.digits)))
    kept: list[tuple[int, Arrays, Arrays]] = []

    def keep(position: MidEpoch) -> None:  # at once, as the trainer does: what it holds goes on changing
        weights = through_the_disk(tmp_path, "weights", to_arrays(stopped))
        kept.append((position.step, weights, through_the_disk(tmp_path, "state", position.state)))

    answers = iter([False] * steps + [True])
    with pytest.raises(Interrupted):
        list(
            fit(
                stopped,
                PREPARE,
                digits,
                recipe(**fields),
                CPU,
                FitOptions(augment=augmentation.digits),
                Callbacks(on_mid_epoch=keep, should_stop=lambda: next(answers)),
            )
        )
    ((step, weights, state),) = kept
    assert step == steps
    resumed.load_state_dict(from_arrays(weights))
    torch.rand(7)
    done = steps // 4
    again = recipe(**fields)
    options = FitOptions(done, state=state, augment=augmentation.digits)
    rest = list(fit(resumed, PREPARE, digits, again, CPU, options))
    assert [epoch.loss for epoch in rest] == [epoch.loss for epoch in wanted[done:]]
    assert [epoch.accuracy for epoch in rest] == [epoch.accuracy for epoch in wanted[done:]]
    assert rest[0].seconds > state["mid_epoch.seconds"]
    assert_bit_identical(resumed, whole)


def test_the_images_after_a_stop_within_an_epoch_are_those_of_a_run_that_went_on(digits: Split) -> None:
    """A stopped epoch continues with the images it would have had.

    That holds whatever the device's random numbers are then: no generator's state is kept, since not every device gives
    one.
    """

    chances: list[float] = []

    def seen_images(steps: int | None, done: int = 0, state: Arrays | None = None) -> tuple[list[Tensor], list[Arrays]]:
        seen: list[Tensor] = []
        kept: list[Arrays] = []

        def augment(images: Tensor) -> Tensor:
            seen.append(augmentation.digits(images))
            chances.append(torch.rand(()).item())
            return seen[-1]

        def should_stop() -> bool:
            torch.manual_seed(done)  # somebody else's chance
            return len(seen) == steps

        callbacks = Callbacks(on_mid_epoch=lambda position: kept.append(position.state), should_stop=should_stop)
        options = FitOptions(done, state=state, augment=augment)
        with suppress(Interrupted):
            list(fit(network(), PREPARE, digits, recipe(epochs=2), CPU, options, callbacks))
        return seen, kept

    whole, _ = seen_images(steps=None)
    assert len(set(chances)) == len(whole)  # no step repeats the chance of another
    for steps in (2, 7):
        before, (state,) = seen_images(steps)
        after, _ = seen_images(None, done=steps // 4, state=state)
        assert all(torch.equal(one, other) for one, other in zip(before + after, whole, strict=True))


def test_a_long_epoch_gives_out_places_within_it_and_is_not_changed_by_that(digits: Split) -> None:
    whole, watched = network(), network()
    run(whole, digits, epochs=1, ema=0.9)
    steps: list[int] = []
    list(
        fit(
            watched,
            PREPARE,
            digits,
            recipe(epochs=1, ema=0.9),
            CPU,
            FitOptions(checkpoint_every_s=0),
            Callbacks(on_mid_epoch=lambda position: steps.append(position.step)),
        )
    )
    assert steps == [1, 2, 3]
    assert_bit_identical(watched, whole)


def test_resuming_without_the_optimizers_state_would_be_another_run(digits: Split) -> None:
    whole, resumed = network(), network()
    run(whole, digits)
    next(iter(fit(resumed, PREPARE, digits, recipe(), CPU)))
    list(fit(resumed, PREPARE, digits, recipe(), CPU, FitOptions(epochs_done=1)))
    assert not torch.equal(resumed.state_dict()["0.weight"], whole.state_dict()["0.weight"])


def test_the_scale_of_half_precision_is_part_of_what_is_kept() -> None:
    one = ScaledOptimizer(network(), recipe(precision="fp16"), CPU)
    state = {**one.scaler.state_dict(), "scale": 1024.0, "_growth_tracker": 7}
    one.scaler.load_state_dict(state)
    other = ScaledOptimizer(network(), recipe(precision="fp16"), CPU)
    other.from_arrays(one.to_arrays())
    assert other.scaler.state_dict() == state


def test_a_run_with_all_its_epochs_done_has_nothing_left(digits: Split) -> None:
    assert list(fit(network(), PREPARE, digits, recipe(), CPU, FitOptions(epochs_done=3))) == []


def test_training_stops_between_two_steps_when_asked(digits: Split) -> None:
    answers: Iterator[bool] = iter([False] * 5 + [True])
    stop = Callbacks(should_stop=lambda: next(answers))
    epochs = fit(network(), PREPARE, digits, recipe(), CPU, callbacks=stop)
    assert next(epochs).number == 1  # four steps; the fifth is the next epoch's first
    with pytest.raises(Interrupted):
        next(epochs)
    assert list(answers) == []


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_rate_that_is_far_too_high_ends_the_training(digits: Split, optimizer: str) -> None:
    with pytest.raises(LossNotFinite, match=r"inf|nan") as failure:
        run(network(), digits, optimizer=optimizer, learning_rate=1e30)
    assert "learning_rate" in failure.value.hint


def test_no_epoch_with_a_loss_that_is_no_number_is_given_out(digits: Split) -> None:
    net = network()
    with torch.no_grad():
        net.get_parameter("0.weight").fill_(float("inf"))
    with pytest.raises(LossNotFinite):
        next(fit(net, PREPARE, digits, recipe(), CPU))


def test_progress_is_told_step_by_step(digits: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.training.fit, "REPORT_EVERY_S", 0)
    seen: list[Progress] = []
    list(fit(network(), PREPARE, digits, recipe(epochs=2), CPU, callbacks=Callbacks(on_progress=seen.append)))
    assert [(progress.epoch, progress.step) for progress in seen] == [(1 + step // 4, step + 1) for step in range(8)]
    assert {progress.steps for progress in seen} == {8}
    assert all(0 < progress.loss < 10 and 0 <= progress.accuracy <= 1 for progress in seen)
    assert all(progress.images_per_s > 0 for progress in seen)
    assert len({progress.learning_rate for progress in seen}) > 1


def test_progress_is_not_told_more_often_than_anyone_looks(digits: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.training.fit, "REPORT_EVERY_S", 1e9)
    seen: list[Progress] = []
    list(fit(network(), PREPARE, digits, recipe(), CPU, callbacks=Callbacks(on_progress=seen.append)))
    assert seen == []


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_shorter_numbers_train_too_and_the_weights_stay_long(digits: Split, precision: str) -> None:
    net = network()
    dtypes: set[torch.dtype] = set()
    net.get_submodule("0").register_forward_hook(lambda _module, _inputs, output: dtypes.add(output.dtype))
    first, *_, last = run(net, digits, precision=precision, epochs=4)
    assert dtypes == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert last.loss < first.loss
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "step", "constant"])
def test_every_schedule_sets_the_rate_of_each_step(digits: Split, schedule: str) -> None:
    from worker.training.lr_schedule import learning_rate

    asked = recipe(schedule=schedule)
    rates = [epoch.learning_rate for epoch in run(network(), digits, schedule=schedule)]
    assert rates == [learning_rate(asked.schedule, 0.05, step, 12, asked.warmup_fraction) for step in (3, 7, 11)]


def test_smoothed_labels_never_let_the_loss_reach_zero(digits: Split) -> None:
    plain, smoothed = (run(network(), digits, label_smoothing=amount, epochs=8)[-1] for amount in (0.0, 0.5))
    assert smoothed.loss > 1.2 > plain.loss  # ln 10 spread over half of the label
    assert smoothed.accuracy > 0.5


def test_a_network_is_back_in_training_mode_after_someone_evaluated_it(digits: Split) -> None:
    net = network()
    epochs = fit(net, PREPARE, digits, recipe(), CPU)
    next(epochs)
    net.eval()
    before = net.state_dict()["1.running_mean"].clone()
    next(epochs)
    assert not torch.equal(net.state_dict()["1.running_mean"], before)


def test_images_are_changed_after_their_preparation_a_batch_at_a_time(digits: Split) -> None:
    seen: list[torch.Size] = []

    def upside_down(images: Tensor) -> Tensor:
        seen.append(images.shape)
        return images.flip(2)

    plain, turned = network(), network()
    run(plain, digits, epochs=1)
    list(fit(turned, PREPARE, digits, recipe(epochs=1), CPU, FitOptions(augment=upside_down)))
    assert seen == [torch.Size([64, 3, 16, 16])] * 4  # prepared, a batch at a time
    assert not torch.equal(plain.state_dict()["0.weight"], turned.state_dict()["0.weight"])


def test_chance_is_the_same_after_a_stop(digits: Split) -> None:
    whole, resumed = network(), network()
    list(fit(whole, PREPARE, digits, recipe(epochs=2), CPU, FitOptions(augment=augmentation.digits)))
    first = next(fit(resumed, PREPARE, digits, recipe(epochs=2), CPU, FitOptions(augment=augmentation.digits)))
    rest = fit(
        resumed,
        PREPARE,
        digits,
        recipe(epochs=2),
        CPU,
        FitOptions(1, state=first.state, augment=augmentation.digits),
    )
    list(rest)
    assert_bit_identical(resumed, whole)


# -- the running mean of the weights


@pytest.mark.parametrize("done", [1, 2])
def test_a_resumed_run_keeps_the_running_mean_to_the_bit(digits: Split, tmp_path: Path, done: int) -> None:
    whole, stopped, resumed = network(), network(), network()
    run(whole, digits, ema=0.9)
    *_, last = islice(fit(stopped, PREPARE, digits, recipe(ema=0.9), CPU), done)
    resumed.load_state_dict(from_arrays(through_the_disk(tmp_path, "weights", to_arrays(stopped))))
    state = through_the_disk(tmp_path, "state", last.state)
    list(fit(resumed, PREPARE, digits, recipe(ema=0.9), CPU, FitOptions(done, state=state)))
    assert_bit_identical(resumed, whole)


def test_the_network_holds_the_mean_while_an_epoch_is_out_and_trains_on_without_it(digits: Split) -> None:
    plain, averaged = network(), network()
    own = fit(plain, PREPARE, digits, recipe(), CPU)
    mean = fit(averaged, PREPARE, digits, recipe(ema=0.9), CPU)
    for _ in range(2):
        one, other = next(own), next(mean)
        assert one.loss == other.loss  # the same training
        assert not torch.equal(plain.state_dict()["0.weight"], averaged.state_dict()["0.weight"])
        assert (other.state["raw.0.weight"] == to_arrays(plain)["0.weight"]).all()


def test_training_can_end_before_the_recipes_last_epoch(digits: Split) -> None:
    epochs = list(fit(network(), PREPARE, digits, recipe(epochs=5), CPU, FitOptions(1, last_epoch=3)))
    assert [epoch.number for epoch in epochs] == [2, 3]


def test_balanced_weights_make_rare_classes_heard(digits: Split) -> None:
    weights = torch.ones(10)
    weights[3] = 0.0  # not heard at all
    deaf = network()
    list(fit(deaf, PREPARE, digits, recipe(epochs=6), CPU, FitOptions(class_weights=weights)))
    answers = deaf.eval()(PREPARE(digits.images)).argmax(1)
    assert (answers == 3).float().mean() < 0.02 < (digits.labels == 3).float().mean()


def test_the_time_spent_waiting_for_images_is_part_of_the_epochs(digits: Split) -> None:
    assert all(0 < epoch.data_wait_s < epoch.seconds for epoch in run(network(), digits))


def test_a_compiled_network_learns_the_same(digits: Split) -> None:
    if shutil.which("c++") is None:
        missing("torch.compile needs a compiler")
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10))
    again = copy.deepcopy(net)
    (plain,) = run(net, digits, epochs=1, learning_rate=0.01)
    (compiled,) = run(again, digits, epochs=1, learning_rate=0.01, compile=True)
    assert compiled.loss == pytest.approx(plain.loss, rel=1e-4)
