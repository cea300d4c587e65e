"""A stream of requests for predictions, while something else happens."""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import numpy as np

from tests.conftest import DIGIT_FILES
from tests.integration.conftest import Programs

SEVEN = DIGIT_FILES[7].read_bytes()


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
def asked_meanwhile(programs: Programs, *names: str, pause_s: float = 0.0) -> Iterator[Answers]:
    """Request predictions within the block, on three connections or one for each name.

    They are for the default name, or for each of these; an answer by another name counts under what it says.
    """
    answers = Answers()
    over = threading.Event()

    def ask(path: str, reference: str) -> None:
        name = re.split("[/@]", reference)[0]
        with httpx.Client(base_url=programs.url) as http:
            while not over.wait(pause_s):
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
