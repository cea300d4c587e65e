"""``python -m benchmarks.train``: compare training speed with a plain loop.

It also prints accuracy over time. Prints rows for docs/benchmarks.md. Ratios are medians over pairs of runs; the spread
is their minimum and maximum. Rows about accuracy need data: name them with --only, and its folder with --datasets-dir.
Pre-trained weights are found like the worker's: TUNESERVE_WEIGHTS_FILE, TUNESERVE_WEIGHTS_DIR.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks import quality, steps
from benchmarks.quality import ANTS, MNIST, Bench
from benchmarks.timing import Effort
from core.settings import Settings
from worker.training import devices

STEPS: Mapping[str, Callable[[torch.device, Effort], None]] = {
    "step-32": lambda device, effort: steps.step(device, 32, effort),
    "step-64": lambda device, effort: steps.step(device, 64, effort),
    "step-224": lambda device, effort: steps.step(device, 224, effort),
    "compiled-224": lambda device, effort: steps.compiled(device, 224, effort),
    "pipeline": steps.pipeline,
    "frozen": steps.frozen,
    "flops-32": lambda device, effort: steps.flops(device, 32, effort),
    "flops-224": lambda device, effort: steps.flops(device, 224, effort),
}
QUALITY: Mapping[str, Callable[[Bench], None]] = {
    "mnist": lambda bench: quality.learn(bench, **MNIST),
    "mnist-seeds": quality.mnist_seeds,
    "mnist-minutes": quality.mnist_minutes,
    "fashion-mnist": lambda bench: quality.learn(bench, dataset="fashion_mnist", weights="random"),
    "usps": lambda bench: quality.learn(bench, dataset="usps", weights="random"),
    "ants-bees-frozen": lambda bench: quality.learn(bench, **ANTS, freeze="backbone"),
    "ants-bees-random": lambda bench: quality.learn(bench, **ANTS, weights="random"),
}
WITHOUT_NAMES = {
    "cpu": ("step-32", "step-64", "pipeline", "frozen", "flops-32"),
    "cuda": ("step-32", "step-64", "step-224", "compiled-224", "pipeline", "frozen", "flops-224"),
}


def main() -> None:
    given = _arguments().parse_args()
    device = devices.choose(given.device)
    names = given.only or WITHOUT_NAMES["cpu" if device.type == "cpu" else "cuda"]
    if given.datasets_dir is None and set(names) & set(QUALITY):
        raise SystemExit("These rows need data: name its place with --datasets-dir.")
    print(f"{devices.describe(device)['name']}, {torch.get_num_threads()} threads, torch {torch.__version__}, ", end="")
    print(f"precision {devices.best_precision(device)}")
    _run_steps([name for name in names if name in STEPS], device, Effort(given.pairs, given.seconds))
    bench = Bench(Settings(datasets_dir=given.datasets_dir), device, given.seconds, tuple(given.minutes), given.quick)
    _run_quality([name for name in names if name in QUALITY], bench)


def _arguments() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", default="auto")
    options.add_argument(
        "--only", nargs="+", metavar="NAME", choices=[*STEPS, *QUALITY], help="rows to run; default: all"
    )
    options.add_argument("--pairs", type=int, default=5, help="runs per side of a comparison")
    options.add_argument("--seconds", type=float, default=5, help="seconds per run of a comparison")
    options.add_argument("--datasets-dir", type=Path, help="folder with <name>/ for each data set")
    options.add_argument(
        "--minutes", type=float, nargs="+", default=[2, 5, 15], help="minutes per training of mnist-minutes"
    )
    options.add_argument("--quick", action="store_true", help="check that a row runs: a few hundred images, one epoch")
    return options


def _run_steps(names: list[str], device: torch.device, effort: Effort) -> None:
    if names:
        print(f"\n| what | ours | plain | ratio (median, min-max of {effort.pairs}) |\n|---|---|---|---|")
    for name in names:
        STEPS[name](device, effort)


def _run_quality(names: list[str], bench: Bench) -> None:
    if names:
        print("\n| training | images seen | took | test accuracy | seen at an epoch's end |\n|---|---|---|---|---|")
    for name in names:
        QUALITY[name](bench)


if __name__ == "__main__":
    main()
