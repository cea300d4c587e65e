"""Serve our graph with BentoML: ``bentoml serve bento:Digits``.

BentoML batches it by its own adaptive batching.
"""

import base64
from typing import Any

import bentoml
import numpy as np
from common import answer, pixels, session


@bentoml.service(workers=1, traffic={"timeout": 60})
class Digits:
    def __init__(self) -> None:
        self.session = session()

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
    def predict(self, images: list[str]) -> list[dict[str, Any]]:
        batch = np.stack([pixels(base64.b64decode(image)) for image in images])
        return answer(self.session.run(["logits"], {"images": batch})[0])
