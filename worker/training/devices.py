"""Choice of the device to train on, its name, memory and precision."""

import os
import shutil
from pathlib import Path
from typing import Any, Literal

import torch

from core.errors import DeviceUnavailable

Precision = Literal["fp32", "bf16", "fp16"]


def choose(wanted: str) -> torch.device:
    """Return the recipe's device, for "auto" a GPU if available.

    Else the CPU. Among several GPUs, if the recipe gives no number, it is the one with the most free memory, so that
    two workers take two. It becomes the default of whatever names no GPU.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceUnavailable(f"This machine has no {wanted}: {count} CUDA devices are visible.")
        device = torch.device("cuda", _freest(count) if device.index is None else device.index)
        torch.cuda.set_device(device)
        return device
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceUnavailable("This machine has no mps device.")
    return device


def best_precision(device: torch.device) -> Precision:
    """Return bf16 if the device computes in it, else fp32.

    A CPU without bf16 instructions emulates them: measured 0.7 times the speed of fp32 there.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.type == "cpu" and _cpu_has_bf16() else "fp32"


def describe(device: torch.device) -> dict[str, Any]:
    """Describe the device for the job's row: type, name, count, peak memory."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "type": device.type,
        "name": name,
        "count": 1,
        "threads": torch.get_num_threads(),
        "peak_memory_bytes": peak_memory_bytes(device),
    }


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak memory of the job.

    On a GPU that of the GPU, else that of this process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on Windows, where nothing else here needs it

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def can_compile(device: torch.device) -> bool:
    """Check whether torch.compile finds the compiler that it needs.

    A C++ compiler on a CPU; on a GPU a C compiler beside the GPU's own.
    """
    chosen, usual = ("CXX", ("g++", "clang++")) if device.type == "cpu" else ("CC", ("gcc", "clang", "cc"))
    return any(shutil.which(name) for name in (os.environ.get(chosen), *usual) if name)


def _freest(count: int) -> int:
    """Return the index of the GPU with the most free memory.

    A single GPU is not queried: that would take memory on it.
    """
    return max(range(count), key=lambda index: torch.cuda.mem_get_info(index)[0]) if count > 1 else 0


def _cpu_has_bf16() -> bool:
    flags = _cpuinfo("flags").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _cpu_name() -> str:
    return _cpuinfo("model name") or "CPU"


def _cpuinfo(field: str) -> str:
    """Return a field of Linux's /proc/cpuinfo; empty if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")
