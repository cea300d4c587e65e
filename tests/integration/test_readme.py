"""The blocks of the README, docs/api.md and docs/own-photos.md, pasted into a shell.

They stand as they are but for port, network and the command line's prefix.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.integration.conftest import TINY, Programs
from tests.support.setfiles import pets

VENV = Path(sys.executable).parent  # as where it is activated
WITH_FEATURES = TINY | {"network": "shufflenet_v2_x0_5"}  # which /embed answers; the first version, served there
PHOTOS = TINY | {"train_samples": None, "image_size": 32}
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module", autouse=True)
def _check_photos(shared_programs: Programs) -> None:
    """Let the first version of the photos alone be small enough for a check-up."""
    shared_programs.environment["TUNESERVE_MAX_CHECKUP_IMAGES"] = "20"


def blocks() -> list[str]:
    """The shell blocks that carry the mark."""
    return re.findall(r"<!-- executed by tests/integration/test_readme.py -->\n```sh\n(.*?)```", README, re.DOTALL)


def paste(block: str, programs: Programs, recipe: Mapping[str, Any] = TINY, folder: Path = ROOT) -> str:
    small = json.dumps({k: v for k, v in recipe.items() if k not in ("dataset", "weights")})[1:-1]
    block = block.replace("localhost:8000", f"127.0.0.1:{programs.port}").replace('"network": "resnet50"', small)
    block = block.replace("--weights random\n", f"--weights random --recipe '{{{small}}}'\n")
    block = block.replace("--preset quick", f"--weights random --recipe '{{{small}}}'")
    block = block.replace('network="resnet50", weights="random"', f'weights="random", **{{{small}}}')
    block = re.sub("^tuneserve ", f"{sys.executable} -m tuneserve.cli.main ", block, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env=programs.environment | {"TUNESERVE_URL": programs.url, "PATH": f"{VENV}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, block + done.stdout + done.stderr
    assert "about:blank" not in done.stdout, done.stdout  # no problem document
    return done.stdout


@pytest.mark.timeout(900)  # four small trainings
def test_every_line_of_the_readme_works_when_pasted(running: Programs) -> None:
    programs = running
    post, first_question, watch, ask, command_line = blocks()
    assert json.loads(paste(post, programs, WITH_FEATURES))["status"] == "queued"
    watched = paste(watch, programs)
    assert "event: done" in watched
    assert '"status":"succeeded"' in watched
    programs.served(json.loads(paste(post.split("curl")[0] + ask.splitlines()[-1], programs))["id"])
    assert json.loads(paste(first_question, programs))["predictions"][0]["label"]
    assert paste(ask, programs).count('"label"') >= 4
    assert "test accuracy" in paste(command_line, programs)
    programs.end("worker")
    before, printed = "", {}
    api = re.findall(r"```(sh|python)\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    for number, (language, block) in enumerate(api):
        if number == 2:  # those before pause and cancel a job, which needs no trainer while it is queued
            programs.start("worker")
        if language == "python":
            paste(f"{sys.executable} - <<'PY'\n{block}PY\n", programs)
            continue
        printed[block] = paste(before + block, programs)
        before = "".join(re.findall(r"^[A-Z]+=.*\n", block, re.MULTILINE))
    answers_of_the_files_alone(programs, printed)


def test_every_line_about_own_photos_works_when_pasted(running: Programs, tmp_path: Path) -> None:
    for file, data in pets("ants", "bees", each=10, above="photos/").items():
        for place in (file, f"new/{Path(file).name}") if file.endswith("/1.png") else (file,):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).write_bytes(data)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "one.jpg").write_bytes(pets("ants", "x", each=11)["ants/10.png"])
    shutil.copyfile(tmp_path / "photos" / "bees" / "1.png", tmp_path / "new" / "one.jpg")
    text = (ROOT / "docs" / "own-photos.md").read_text()
    start, *found = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert start == "tuneserve up\n"  # it runs already
    said = [paste(block, running, PHOTOS, tmp_path) for block in found]
    assert "This can be trained on: 20 images, 0 problems" in said[0]
    assert sum("test accuracy" in text for text in said) == 2
    assert '"version":1' in said[-2].replace(" ", "")
    assert (tmp_path / "insects.onnx").stat().st_size > 10_000


def answers_of_the_files_alone(programs: Programs, printed: dict[str, str]) -> None:
    """Check that ONNX Runtime and torchvision answer as the service does.

    They answer from the model's files alone. The service may do so in int8.
    """
    seven = (ROOT / "tuneserve" / "digits" / "7.png").read_bytes()
    said = programs.http.post("/predict/digits@best?top_k=10", files={"file": seven}).json()["predictions"][0]
    probabilities = {guess["label"]: guess["probability"] for guess in said["top_k"]}
    for library in ("onnxruntime", "torchvision"):
        (told,) = (output for block, output in printed.items() if f" {library}" in block)
        label, probability = told.split()
        assert probabilities[label] == pytest.approx(float(probability), abs=0.05), library
