"""worker.training.devices: which device to train on.

Machines with other devices are described to it here.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from core.errors import DeviceUnavailable
from worker.training import devices

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide every accelerator of this machine."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@dataclass
class Gpus:
    free: list[int]  # bytes
    in_use: torch.device | None = None

    def use(self, device: torch.device) -> None:
        self.in_use = device


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    gpus = Gpus(free=[2**34, 2**34])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Fast Card {device.index}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (gpus.free[index], 2**35))
    monkeypatch.setattr(torch.cuda, "set_device", gpus.use)
    return gpus


@pytest.mark.usefixtures("machine")
def test_without_an_accelerator_the_cpu_is_chosen() -> None:
    assert devices.choose("auto") == CPU
    assert devices.choose("cpu") == CPU


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_preferred_and_has_its_number() -> None:
    assert devices.choose("auto") == devices.choose("cuda") == torch.device("cuda", 0)
    assert devices.choose("cuda:1") == torch.device("cuda", 1)
    assert devices.choose("cpu") == CPU


def test_of_two_gpus_the_one_with_more_free_memory_is_taken_and_used(two_gpus: Gpus) -> None:
    two_gpus.free[0] -= 2**30  # another worker's job
    assert devices.choose("auto") == devices.choose("cuda") == two_gpus.in_use == torch.device("cuda", 1)
    assert devices.choose("cuda:0") == two_gpus.in_use == torch.device("cuda", 0)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(DeviceUnavailable, match=r"no cuda:2: 2 CUDA devices"):
        devices.choose("cuda:2")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there_is_refused(wanted: str) -> None:
    with pytest.raises(DeviceUnavailable, match=f"no {wanted}") as refusal:
        devices.choose(wanted)
    assert "auto" in refusal.value.hint


@pytest.mark.usefixtures("machine")
def test_apples_gpu_comes_before_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.choose("auto") == devices.choose("mps") == torch.device("mps")
    assert devices.best_precision(torch.device("mps")) == "fp32"


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_computes_in_what_it_has(monkeypatch: pytest.MonkeyPatch, has_bf16: bool, precision: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16 or including_emulation)
    assert devices.best_precision(torch.device("cuda", 0)) == precision


def cpuinfo(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    def read(path: Path) -> str:
        if text is None:
            raise FileNotFoundError(path)
        assert path == Path("/proc/cpuinfo")
        return text

    monkeypatch.setattr(Path, "read_text", read)


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fpu avx2 avx512_bf16 sse", "bf16"), ("fpu amx_bf16", "bf16"), ("fpu avx2 avx512f", "fp32"), ("", "fp32")],
)
def test_a_cpu_computes_in_bf16_if_it_can_in_earnest(
    monkeypatch: pytest.MonkeyPatch, flags: str, precision: str
) -> None:
    cpuinfo(monkeypatch, f"model name\t: Some CPU\nflags\t\t: {flags}\nbugs\t\t: avx512_bf16\n")
    assert devices.best_precision(CPU) == precision


def test_a_system_that_tells_nothing_of_its_cpu_has_one_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo(monkeypatch, None)
    assert devices.best_precision(CPU) == "fp32"
    assert devices.describe(CPU)["name"] == "CPU"


def test_a_cpu_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo(monkeypatch, "processor\t: 0\nmodel name\t: Some CPU: 9 GHz\n")
    described = devices.describe(CPU)
    assert (described["type"], described["name"], described["count"]) == ("cpu", "Some CPU: 9 GHz", 1)
    assert described["threads"] == torch.get_num_threads()


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_is_called_by_its_name() -> None:
    described = devices.describe(torch.device("cuda", 1))
    assert (described["type"], described["name"]) == ("cuda", "Fast Card 1")


def test_memory_is_counted_in_bytes() -> None:
    held = torch.ones(2**24)  # 64 MiB, touched; a count of kilobytes would be far below
    assert held.nbytes < devices.peak_memory_bytes(CPU) < 2**40


@pytest.mark.parametrize(
    ("there", "on_cpu", "on_gpu"),
    [((), False, False), (("gcc",), False, True), (("g++", "gcc"), True, True), (("mine",), True, False)],
)
def test_a_compiler_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], on_cpu: bool, on_gpu: bool
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in there else None)
    monkeypatch.setenv("CXX", "mine")
    assert devices.can_compile(CPU) == on_cpu
    assert devices.can_compile(torch.device("cuda", 0)) == on_gpu
