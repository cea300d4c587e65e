"""Serving is never interrupted: models come, are refused and are rolled back under a stream of requests."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx

from core.tables import Model
from tests.conftest import DIGIT_FILES
from tests.integration.conftest import Programs, wait_for

Published = Callable[..., Model]
SEVEN = DIGIT_FILES[7].read_bytes()
SWAPS = int(os.environ.get("TEST_SWAPS", "60"))  # with 500 it takes minutes, and holds as well
WARM = 20  # models after which memory is measured first


@contextmanager
def asked_without_a_pause(programs: Programs) -> Iterator[Counter[tuple[int, str]]]:
    """Counts the answers to a stream of requests, by status and label."""
    answers: Counter[tuple[int, str]] = Counter()
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=programs.url) as http:
            while not over.is_set():
                answer = http.post("/predict", files={"file": SEVEN})
                answers[answer.status_code, answer.json()["predictions"][0]["label"]] += 1

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield answers
    over.set()
    for thread in threads:
        thread.join()


def refused(programs: Programs, model: Model) -> None:
    """Returns once the service has refused that model."""
    wait_for(
        lambda: programs.http.get("/readyz").json()["checks"]["target"].get("model_id") == model.id,
        f"{model.id} to be refused",
    )


def test_no_request_fails_while_models_come_are_refused_and_go_back(programs: Programs, published: Published) -> None:
    first = published()
    programs.start("service")
    with asked_without_a_pause(programs) as answers:
        second = published()
        programs.served(second.id)
        refused(programs, published(onnx=b"this is no graph"))
        programs.served(second.id)
        programs.http.put("/models/aliases/serving", json={"model": first.id})
        programs.served(first.id)
    assert set(answers) == {(200, "7")}


def test_a_restart_with_a_refused_target_goes_on_with_what_served_before(
    programs: Programs, published: Published
) -> None:
    good = published()
    programs.start("service")
    broken = published(onnx=b"this is no graph")
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
    with asked_without_a_pause(programs) as answers, httpx.Client(base_url=programs.url) as http:
        for _ in range(SWAPS):
            newest = published().id
            wait_for(lambda: _answers(http) == newest, f"{newest} to answer")  # noqa: B023 - called at once
            memory.append(resident_kib(service.pid))
    assert set(answers) == {(200, "7")}
    assert median(memory[-20:]) < 1.03 * median(memory[WARM : WARM + 20])


def _answers(http: httpx.Client) -> str:
    return str(http.post("/predict", files={"file": SEVEN}).json()["model"]["id"])
