"""No library reports what is done here to its makers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.fakes import tiny_onnx

ENTRIES = ("service.app", "service.inference.self_test", "worker.trainer", "worker.publishing.quantization")


@pytest.mark.parametrize("entry", ENTRIES)
def test_onnx_runtime_keeps_no_identifier_of_this_machine(entry: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(tiny_onnx(np.zeros((784, 10), np.float32)))
    script = f"import {entry}, onnxruntime; onnxruntime.InferenceSession('model.onnx')"
    # with CI set it keeps none anyway
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / "cache")}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True, timeout=300)
    assert not list(tmp_path.rglob("*.onnxruntime*"))
