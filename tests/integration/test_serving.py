"""Serving is never interrupted by new, refused or rolled back models.

Requests come in a stream all the while.
"""

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx
import numpy as np
import torch

from core.db.tables import Model
from core.inference.network import ServingGraph, build
from tests.conftest import DIGIT_FILES
from tests.integration.conftest import Programs, wait_for
from tests.support.fakes import DIGIT_PREPARATION, NO_GRAPH
from worker.publishing.onnx_export import export_onnx

Published = Callable[..., Model]
SEVEN = DIGIT_FILES[7].read_bytes()
SWAPS = int(os.environ.get("TEST_SWAPS", "60"))  # TEST_SWAPS=500 pytest -n 0 -s -k hundreds: takes minutes
QUIET = 500  # answers, to know how long they take without swaps
WARM = 20  # models after which memory is measured first


@dataclass
class Answers:
    """The answers to a stream of requests."""

    counted: Counter[tuple[int, str]] = field(default_factory=Counter)  # by status and label
    took_ms: list[float] = field(default_factory=list)

    @property
    def statuses(self) -> set[int]:
        return {status for status, _ in self.counted}

    def p99_ms(self) -> float:
        return float(np.percentile(self.took_ms, 99))


@contextmanager
def asked_without_a_pause(programs: Programs, *names: str) -> Iterator[Answers]:
    """Request predictions without a pause within the block.

    They are for the default name, or for each of these; an answer by another name counts under what it says.
    """
    answers = Answers()
    over = threading.Event()

    def ask(path: str, reference: str) -> None:
        name = re.split("[/@]", reference)[0]
        with httpx.Client(base_url=programs.url) as http:
            while not over.is_set():
                began = time.perf_counter()
                answer = http.post(path, files={"file": SEVEN})
                answers.took_ms.append(1000 * (time.perf_counter() - began))
                said = answer.json()
                by = said.get("model", {}).get("name")
                label = said["predictions"][0]["label"] if by == name else f"{name} answered by {by}"
                answers.counted[answer.status_code, label] += 1

    asked = [(f"/predict/{name}", name) for name in names] or 3 * [("/predict", "digits")]
    threads = [threading.Thread(target=ask, args=args) for args in asked]
    for thread in threads:
        thread.start()
    yield answers
    over.set()
    for thread in threads:
        thread.join()


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
    with asked_without_a_pause(programs) as answers:
        second = published()
        programs.served(second.id)
        refused(programs, published(onnx=NO_GRAPH))
        programs.served(second.id)
        programs.http.put("/models/digits/aliases/serving", json={"version": first.version})
        programs.served(first.id)
    assert set(answers.counted) == {(200, "7")}


def test_two_names_retrained_twenty_times_each_answer_for_themselves(programs: Programs, published: Published) -> None:
    published(), published(name="pets")
    programs.start("service")
    with asked_without_a_pause(programs, "digits", "pets", "digits/1", "pets@best") as answers:
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
    with asked_without_a_pause(programs) as answers:
        for turn in range(6):
            programs.http.put("/models/digits/aliases/serving", json={"version": models[turn % 2].version})
            wait_for(lambda: _answers(programs.http) == models[turn % 2].id, "the other model to answer")  # noqa: B023
    assert answers.statuses == {200}


def test_a_rollback_reaches_every_process(programs: Programs, published: Published) -> None:
    """A rollback reaches every process.

    Only one of them hears the call; the others look for themselves, twice a second.
    """
    log = programs.data_dir / "service.log"

    def swaps_to(model: Model) -> int:
        return log.read_text().count(f"serving digits/{model.version}, {model.id}")

    first = published()
    programs.start("service", TUNESERVE_PROCESSES="2")
    wait_for(lambda: swaps_to(first) == 2, "both processes to serve the first model")
    second = published()
    wait_for(lambda: swaps_to(second) == 2, "both to serve the second")
    programs.http.put("/models/digits/aliases/serving", json={"version": first.version})
    wait_for(lambda: swaps_to(first) == 4, "both to serve the first again")
    assert {_answers(programs.http) for _ in range(30)} == {first.id}  # a new connection each time


def test_every_prediction_is_answered_while_a_job_trains_and_none_needs_torch(
    programs: Programs, published: Published
) -> None:
    published()
    service = programs.start("service")
    programs.start("worker")
    with asked_without_a_pause(programs) as answers:
        job = programs.ended(programs.train())
        programs.served(job["model_id"])
    assert (job["status"], answers.statuses) == ("succeeded", {200})
    libraries = Path(f"/proc/{service.pid}/maps").read_text()
    assert "onnxruntime" in libraries
    assert "libtorch" not in libraries


def test_a_restart_with_a_refused_target_goes_on_with_what_served_before(
    programs: Programs, published: Published
) -> None:
    good = published()
    programs.start("service")
    broken = published(onnx=NO_GRAPH)
    refused(programs, broken)
    programs.children[0].terminate()
    programs.children[0].wait(20)
    programs.start("service")
    programs.served(good.id)
    assert programs.http.post("/predict", files={"file": SEVEN}).json()["model"]["id"] == good.id


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def test_hundreds_of_new_models_lose_no_request_and_no_memory(programs: Programs, published: Published) -> None:
    published()
    service = programs.start("service", TUNESERVE_RELOAD_POLL_S="0.01", TUNESERVE_PREDICT_MEMORY_BYTES="1")
    memory: list[int] = []
    with asked_without_a_pause(programs) as quiet:
        wait_for(lambda: len(quiet.took_ms) >= QUIET, "some answers without swaps")
    with asked_without_a_pause(programs) as answers, httpx.Client(base_url=programs.url) as http:
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
