"""service.middleware.content_encoding: gzip is read within the bounds, and nothing else."""

import gzip
import os
import tracemalloc
from collections.abc import AsyncIterator, Callable

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from fastapi import FastAPI, Request

from core.db.tables import Model
from core.settings import Settings
from service.middleware.body_limit import BodyLimit
from service.middleware.content_encoding import PIECE, ContentEncoding
from service.web import problems
from tests.conftest import DIGIT_FILES, running

LIMIT = 8 * PIECE
GZIP = {"Content-Encoding": "gzip"}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """An application that returns its input and the largest piece."""
    app = FastAPI()
    problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=LIMIT)
    app.add_middleware(ContentEncoding)

    @app.post("/echo")
    async def echo(request: Request) -> dict[str, int | str]:
        pieces = [piece async for piece in request.stream()]
        whole = b"".join(pieces)
        return {"sum": hash(whole), "size": len(whole), "largest": max(map(len, pieces), default=0)}

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def sliced(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def test_a_compressed_body_is_what_it_was_before(http: httpx.AsyncClient) -> None:
    bodies = (b"", b"x", os.urandom(3 * PIECE), b"abc" * PIECE, os.urandom(100) * 70_000, os.urandom(PIECE))
    for body in bodies:
        packed = gzip.compress(body)
        two = gzip.compress(body[:1000]) + gzip.compress(body[1000:])
        for content in (packed, two, sliced(packed, 1000) if len(packed) < 10**5 else packed):
            for name in ("gzip", "X-GZIP"):
                if len(packed) * 200 < len(body) or (name != "gzip" and not isinstance(content, bytes)):
                    continue  # a bomb; or a stream that was read
                answer = (await http.post("/echo", content=content, headers={"Content-Encoding": name})).json()
                assert (answer["sum"], answer["size"]) == (hash(body), len(body))
                assert answer["largest"] <= PIECE
    assert (await http.post("/echo", headers=GZIP)).json()["size"] == 0


async def test_bombs_are_refused_before_they_are_large(http: httpx.AsyncClient) -> None:
    large = gzip.compress(os.urandom(PIECE) * 9)
    bombs = {"zeros": gzip.compress(bytes(10**8), 1), "large": large, "nothing": gzip.compress(b"") * 200_000}
    tracemalloc.start()
    answers = {kind: await http.post("/echo", content=bomb, headers=GZIP) for kind, bomb in bombs.items()}
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    statuses = {kind: (answer.status_code, answer.json()["code"]) for kind, answer in answers.items()}
    assert statuses == {"zeros": (413, "too_large"), "large": (413, "too_large"), "nothing": (422, "invalid_input")}
    assert "200 times its own bytes" in answers["zeros"].json()["detail"]
    assert used < 4 * LIMIT


async def test_what_is_no_whole_gzip_is_refused(http: httpx.AsyncClient) -> None:
    packed = gzip.compress(os.urandom(1000))
    for wrong in (b"no gzip", packed[:-1], packed[:-9], packed + b"more", packed[:3]):
        answer = await http.post("/echo", content=wrong, headers=GZIP)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), wrong[:10]
        assert "gzip" in answer.json()["detail"]


async def test_other_encodings_are_not_accepted(settings: Settings, published: Callable[..., Model]) -> None:
    published()
    async with running(settings) as http:
        paths = ("/predict", "/jobs", "/batches", "/datasets?name=pets", "/v2/models/digits/infer")
        for encoding in ("br", "deflate", "zstd", "gzip, gzip", "x\x1b[2J"):
            for path in paths:
                headers = [(b"Content-Encoding", encoding.encode()), (b"Content-Type", b"application/json")]
                if path.startswith(("/batches", "/datasets")):
                    headers[1] = (b"Content-Type", b"application/zip")
                answer = await http.post(path, content=b"{}", headers=headers)
                assert answer.status_code == 415, (path, encoding, answer.text)
                assert "send gzip" in answer.text
                assert "\x1b" not in answer.text
        assert (await http.get("/jobs", headers={"Content-Encoding": "br"})).status_code == 200


@pytest.fixture
def model(published: Callable[..., Model]) -> Model:
    """A model that serves from the start.

    Request this fixture before the service's.
    """
    return published()


def test_triton_asks_in_gzip(model: Model, live: str) -> None:
    digits = np.array([file.read_bytes() for file in DIGIT_FILES], dtype=np.object_)
    images = triton.InferInput("images", [10], "BYTES")
    images.set_data_from_numpy(digits, binary_data=True)
    client = triton.InferenceServerClient(live.removeprefix("http://"))
    answer = client.infer("digits", [images], request_compression_algorithm="gzip")
    client.close()
    assert answer.as_numpy("probabilities").argmax(1).tolist() == list(range(10))


async def test_an_image_and_json_come_in_gzip_too(settings: Settings, published: Callable[..., Model]) -> None:
    published()
    async with running(settings) as http:
        seven = gzip.compress(DIGIT_FILES[7].read_bytes())
        answer = await http.post("/predict", content=seven, headers=GZIP | {"Content-Type": "image/png"})
        assert answer.json()["predictions"][0]["label"] == "7"
        job = gzip.compress(b'{"dataset": "digits"}')
        answer = await http.post("/jobs", content=job, headers=GZIP | {"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["recipe"]["dataset"]) == (202, "digits")


async def test_a_request_that_reads_no_body_is_answered_whatever_encoding_it_names(settings: Settings) -> None:
    async with running(settings) as http:
        for encoding in ("br", "gzip"):
            for method in ("GET", "HEAD"):
                request = http.build_request(
                    method, "/page/main.js", content=b"x", headers={"Content-Encoding": encoding}
                )
                assert (await http.send(request)).status_code == 200, (method, encoding)
