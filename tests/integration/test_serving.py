"""Serving is never interrupted by new, refused or rolled back models.

Requests come in a stream all the while.
"""

import os
from collections.abc import Callable
from pathlib import Path
from statistics import median

import httpx
import torch

from core.db.tables import Model
from core.inference.network import ServingGraph, build
from tests.integration.asking import SEVEN, asked_meanwhile
from tests.integration.conftest import Programs, wait_for
from tests.support.fakes import DIGIT_PREPARATION, NO_GRAPH
from worker.publishing.onnx_export import export_onnx

Published = Callable[..., Model]
SWAPS = int(os.environ.get("TEST_SWAPS", "60"))  # TEST_SWAPS=500 pytest -n 0 -s -k hundreds: takes minutes
QUIET = 500  # answers, to know how long they take without swaps
WARM = 20  # models after which memory is measured first


def refused(programs: Programs, model: Model) -> None:
    """Returns once the service has refused that model."""
    wait_for(
        lambda: (
            programs.http.get("/readyz").json()["checks"]["target"].get("refused", [{}])[0].get("model_id") == model.id
        ),
        f"{model.id} to be refused",
    )


def test_no_request_fails_while_models_come_are_refused_and_go_back(programs: Programs, published: Published) -> None:
    first = published()
    programs.start("service")
    with asked_meanwhile(programs) as answers:
        second = published()
        programs.served(second.id)
        broken = published(onnx=NO_GRAPH)
        refused(programs, broken)
        programs.served(second.id)
    assert set(answers.counted) == {(200, "7")}

    programs.end("service")
    programs.start("service")
    refused(programs, broken)
    programs.served(second.id)  # a restart goes on with what served before
    assert _answers(programs.http) == second.id
    with asked_meanwhile(programs) as answers:
        programs.http.put("/models/digits/aliases/serving", json={"version": first.version})
        programs.served(first.id)
    assert set(answers.counted) == {(200, "7")}


def test_two_names_retrained_twenty_times_each_answer_for_themselves(programs: Programs, published: Published) -> None:
    published(), published(name="pets")
    programs.start("service")
    with asked_meanwhile(programs, "digits", "pets", "digits/1", "pets@best") as answers:
        for _ in range(19):
            last = [published(), published(name="pets")]
        for model in last:
            path = f"/models/{model.id}"
            wait_for(lambda: programs.http.get(path).json()["served_at"], f"{path} to serve")  # noqa: B023
            answer = programs.http.post(f"/predict/{model.name}", files={"file": SEVEN}).json()
            assert answer["model"]["id"] == model.id
    assert set(answers.counted) == {(200, "7")}


def test_swaps_between_two_resnet50_lose_no_request(programs: Programs, published: Published) -> None:
    graph = export_onnx(
        ServingGraph(DIGIT_PREPARATION, build("resnet50", 10, 32)).eval(), torch.zeros(2, 28, 28, 1, dtype=torch.uint8)
    )
    models = [published(onnx=graph, network="resnet50") for _ in range(2)]
    programs.start("service", TUNESERVE_PREDICT_MEMORY_BYTES="1")  # each swap loads it anew
    with asked_meanwhile(programs) as answers:
        for turn in range(6):
            programs.http.put("/models/digits/aliases/serving", json={"version": models[turn % 2].version})
            wait_for(lambda: _answers(programs.http) == models[turn % 2].id, "the other model to answer")  # noqa: B023
    assert answers.statuses == {200}


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def test_hundreds_of_new_models_lose_no_request_and_no_memory(programs: Programs, published: Published) -> None:
    published()
    service = programs.start("service", TUNESERVE_RELOAD_POLL_S="0.01", TUNESERVE_PREDICT_MEMORY_BYTES="1")
    memory: list[int] = []
    with asked_meanwhile(programs) as quiet:
        wait_for(lambda: len(quiet.took_ms) >= QUIET, "some answers without swaps")
    with asked_meanwhile(programs) as answers, httpx.Client(base_url=programs.url) as http:
        for _ in range(SWAPS):
            newest = published().id
            wait_for(lambda: _answers(http) == newest, f"{newest} to answer")  # noqa: B023 - called at once
            memory.append(resident_kib(service.pid))
    before, after = median(memory[WARM : WARM + 20]), median(memory[-20:])
    print(  # noqa: T201 - for people: nothing is asserted of the clock
        f"{SWAPS} swaps, {answers.counted.total()} answers, p99 {answers.p99_ms():.1f} ms, without swaps "
        f"{quiet.p99_ms():.1f} ms; resident {before / 1024:.0f} MiB after {WARM} swaps, {after / 1024:.0f} at the end"
    )
    assert set(answers.counted) == {(200, "7")}
    assert after < 1.03 * before


def _answers(http: httpx.Client) -> str:
    return str(http.post("/predict", files={"file": SEVEN}).json()["model"]["id"])
