"""Load a model as a predictor, warm it up and test it.

On a GPU it runs in torch, elsewhere in ONNX Runtime.
"""

import ctypes
import importlib.util
import time
from pathlib import Path

from core.artifacts.store import ArtifactStore
from core.db.tables import Model
from core.inference.onnx_predictor import OnnxPredictor, Predictor, warm_up
from core.settings import Settings
from service.inference.model_cache import Load, Loaded
from service.inference.self_test import self_test

QUICK_S = 0.015  # nobody notices so long a wait
MAX_THREADS_FOR_ONE = 4  # threads for an image of a quick network, whose layers take each a fraction of a millisecond
TRIES = 3  # of which the best counts: the machine may be busy


def loader(settings: Settings, store: ArtifactStore) -> Load:
    on_gpu = _wants_gpu(settings)

    def load(model: Model) -> Loaded:
        predictor: Predictor
        if on_gpu:
            from service.inference.torch_predictor import TorchPredictor  # imports torch: a CPU service must not

            predictor = TorchPredictor(model, store, "cuda", settings.predict_batch)
        else:
            predictor = _on_cpu(model, store, settings)
        # on a CPU a full batch of photos would take seconds, and gains nothing
        warm_up(predictor, *((1, settings.predict_batch) if on_gpu else (1,)))
        tested = self_test(predictor, store)
        _give_back_memory()
        return Loaded(predictor, tested)

    return load


def _on_cpu(model: Model, store: ArtifactStore, settings: Settings) -> Predictor:
    """Choose how many threads and concurrent batches a model gets.

    A quick network answers a batch on each core: threads that share one wait for each other after every layer, which
    costs a tenth of all answers. A slow one has all the cores for a batch. An image that comes alone has several with
    either.
    """
    threads = settings.resolved_predict_threads
    quick = OnnxPredictor(model, store, threads=1, max_concurrent_batches=settings.resolved_concurrent_batches)
    if threads == 1:
        return quick
    if not _is_quick(quick):
        return OnnxPredictor(model, store, threads)
    quick.share_singles(min(threads, MAX_THREADS_FOR_ONE))
    return quick


def _give_back_memory() -> None:
    """Return freed memory to the system by malloc_trim(3).

    Loading frees 20 to 30 MB of the graph's copies, which the C library would keep for itself.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc's own
        trim(0)


def _is_quick(predictor: Predictor) -> bool:
    return any(_seconds(predictor) < QUICK_S for _ in range(TRIES))


def _seconds(predictor: Predictor) -> float:
    """Return the seconds of one run with one image."""
    started = time.perf_counter()
    warm_up(predictor, 1)
    return time.perf_counter() - started


def _wants_gpu(settings: Settings) -> bool:
    """Decide whether to predict on a GPU.

    torch is imported only if a driver is there: the import takes seconds and 600 MB.
    """
    if settings.predict_device == "cpu":
        return False
    has_driver = Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()
    if settings.predict_device == "auto" and not (has_driver and importlib.util.find_spec("torch")):
        return False
    from service.inference.torch_predictor import cuda_is_available

    if settings.predict_device == "cuda" and not cuda_is_available():
        raise RuntimeError("TUNESERVE_PREDICT_DEVICE is cuda, and torch sees no CUDA device.")
    return cuda_is_available()
