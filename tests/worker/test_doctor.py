"""worker.doctor and tuneserve.cli.doctor: what is here and what is wrong."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sqlalchemy import make_url

from core.settings import Settings
from tests import ROOT
from tests.support.terminal import TUNESERVE
from worker import doctor
from worker.doctor import Finding


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNESERVE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def found() -> dict[str, Finding]:
    return {finding.check: finding for finding in doctor.examine()}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TUNESERVE, "doctor", *words], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_doctor_says_what_is_here() -> None:
    answer = run("--json")
    checks = {one["check"]: one for one in map(json.loads, answer.stdout.splitlines())}
    assert answer.returncode == 0, answer.stdout
    assert {"torch", "device", "data directory", "disk", "database", "data sets", "weights"} <= checks.keys()
    assert checks["database"]["detail"].endswith("the first start makes it")


def test_the_doctor_makes_nothing(data_dir: Path) -> None:
    assert found()["data directory"] == Finding("data directory", "ok", f"{data_dir}: the first start makes it")
    assert not data_dir.exists()


def test_the_database_is_seen_as_it_is(settings: Settings, database_url: str) -> None:
    assert found()["database"].detail == "no jobs yet; workers alive: 0"
    database = Path(make_url(database_url).database or "")
    database.write_bytes(b"")
    assert found()["database"] == Finding("database", "ok", "it answers; the next start brings its tables up to date")
    database.write_bytes(b"no database" * 100)
    assert found()["database"].state == "wrong"


def test_a_directory_that_cannot_be_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TUNESERVE_DATA_DIR", str(tmp_path / "file" / "data"))
    answer = run()
    assert answer.returncode == 1
    assert f"{tmp_path / 'file'} is a file" in answer.stdout.replace("\n", "")


def test_wrong_settings_are_found_each_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESERVE_PORT", "abc")
    monkeypatch.setenv("TUNESERVE_LEASE_S", "0")
    answer = run()
    assert (answer.returncode, answer.stderr) == (1, "")
    wrong = [line.split("\t")[2] for line in answer.stdout.splitlines() if line.startswith("settings\twrong")]
    assert [line.split()[0] for line in wrong] == ["TUNESERVE_PORT", "TUNESERVE_LEASE_S"]
    assert wrong[0].endswith("Correct it, or unset it, which means 8000.")


def test_a_setting_that_nothing_reads_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNESERVE_TRAIN_THREADS")  # set for all tests
    monkeypatch.setenv("TUNESERVE_URL", "http://here:1")
    assert found()["settings"] == Finding("settings", "ok", "TUNESERVE_DATA_DIR, TUNESERVE_URL")
    monkeypatch.setenv("TUNESERVE_PROT", "9000")
    assert found()["settings"] == Finding("settings", "note", "nothing reads TUNESERVE_PROT")


# -- data sets


def test_the_data_sets_that_are_on_this_machine_are_named(data_dir: Path) -> None:
    assert found()["data sets"].state == "note"
    for name in ("mnist", "pets", "cifar10", ".aside-1"):
        (data_dir / "datasets" / name).mkdir(parents=True)
    for name in ("mnist", "pets", ".aside-1"):
        (data_dir / "datasets" / name / "file").write_bytes(b"")
    told = found()["data sets"]
    assert (told.state, told.detail.split(".")[0]) == ("ok", "digits, mnist; 1 of your own")


def test_a_data_sets_folder_that_cannot_be_read_is_found(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "datasets").write_text("in the way")
    told = found()["data sets"]
    assert told == Finding("data sets", "wrong", f"{data_dir / 'datasets'} cannot be read: Not a directory")


# -- the GPU: this machine may have none, so torch and nvidia-smi are played


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A GPU whose products are computed on ``device``.

    Its driver says its version.
    """
    played = SimpleNamespace(device="cpu")
    driver = tmp_path / "bin" / doctor.DRIVER
    driver.parent.mkdir()
    driver.write_text(f"#!{sys.executable}\nprint('580.65.06')\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", str(driver.parent), prepend=":")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda *shape, device: ones(*shape, device=played.device))
    return played


def test_a_gpu_that_computes_is_told_with_its_driver(gpu: SimpleNamespace) -> None:
    assert found()["device"] == Finding("device", "ok", "CUDA 13.0, driver 580.65.06: GPU 0")


def test_a_gpu_that_is_there_and_cannot_compute_is_found(gpu: SimpleNamespace) -> None:
    gpu.device = "meta"  # torch lets one ask for a product there, and has no numbers to answer with
    told = found()["device"]
    assert told.state == "wrong"
    assert "cuda:0 cannot compute: " in told.detail


def test_a_gpu_that_computes_wrongly_is_found(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "ones", lambda *shape, device: torch.full(shape, 2.0))
    assert found()["device"].detail.endswith("; cuda:0 computes wrongly")


def test_a_driver_that_says_no_version_is_no_reason_to_stop(gpu: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "bin" / doctor.DRIVER).write_text(f"#!{sys.executable}\nimport sys; sys.exit(9)\n")
    assert "driver unknown" in found()["device"].detail
