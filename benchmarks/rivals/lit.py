"""LitServe, given our graph; batched as its documentation shows it."""

import base64
import os
from typing import Any

import litserve
import numpy as np
from common import answer, pixels, session


class Digits(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002, the name is theirs
        self.session = session()

    def decode_request(self, request: dict[str, Any]) -> Any:
        return pixels(base64.b64decode(request["image"]))

    def batch(self, inputs: list[Any]) -> Any:
        return np.stack(inputs)

    def predict(self, images: Any) -> list[dict[str, Any]]:
        return answer(self.session.run(["logits"], {"images": images})[0])

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    api = Digits(max_batch_size=32, batch_timeout=0.005)
    litserve.LitServer(api, accelerator="cpu").run(
        port=int(os.environ["BENCH_PORT"]), log_level="warning", generate_client_file=False
    )
