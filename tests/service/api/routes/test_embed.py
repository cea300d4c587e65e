"""POST /embed through the whole service: the features of a real graph, which are its pixels."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from core.db.tables import Model
from core.inference.onnx_predictor import Images, OnnxPredictor, Outputs
from core.settings import Settings
from tests.conftest import DIGIT_FILES, running
from tests.service.api.routes.test_predict import BAD, SEVEN, parts, png
from tests.support.fakes import tiny_onnx

Published = Callable[..., Model]
BLANK = png(Image.new("L", (90, 90), 255))


@pytest.fixture
async def http(settings: Settings, published: Published) -> AsyncIterator[httpx.AsyncClient]:
    """The service, and a model that it serves."""
    published()
    async with running(settings) as client:
        yield client


async def test_each_image_gets_its_features_in_order_and_of_length_1(http: httpx.AsyncClient) -> None:
    files = [DIGIT_FILES[digit].read_bytes() for digit in (7, 0, 7)]
    answer = (await http.post("/embed", files=parts(*files))).json()
    features = np.array([each["features"] for each in answer["embeddings"]])
    assert (features.shape, answer["dimension"]) == ((3, 784), 784)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-4)
    alike = features @ features.T
    assert alike[0, 2] == pytest.approx(1, abs=1e-4)
    assert alike[0, 1] < 0.9
    predicted = (await http.post("/predict", files=parts(*files))).json()
    assert answer["model"] == predicted["model"]
    assert answer["timing_ms"].keys() == predicted["timing_ms"].keys()


async def test_a_bad_image_among_several_gets_its_own_error_and_a_blank_one_its_reason(
    http: httpx.AsyncClient,
) -> None:
    bad, blank, seven = (await http.post("/embed", files=parts(BAD, BLANK, SEVEN))).json()["embeddings"]
    assert (bad["error"]["code"], bad["error"]["status"], "features" in bad) == ("not_an_image", 422, False)
    assert blank == {"reason": "nothing on the image to read"}
    assert len(seven["features"]) == 784


async def test_it_refuses_what_predict_refuses(http: httpx.AsyncClient, settings: Settings) -> None:
    too_many = {"images": [{"array": [[0]]}] * (settings.max_images_per_request + 1)}
    cases: tuple[dict[str, Any], ...] = (
        {"files": parts(BAD)},
        {"content": SEVEN, "headers": {"Content-Type": "text/plain"}},
        {"json": {"images": [{}]}},
        {"json": too_many},
        {"json": {"images": [{"url": "http://x"}]}},
        {"files": parts(SEVEN), "params": {"model": "nobody"}},
        {"files": parts(SEVEN), "params": {"preprocess": "magic"}},
        {"files": parts(SEVEN), "headers": {"X-Timeout-Ms": "0"}},
    )
    for asked in cases:
        embedded, predicted = [await http.post(path, **asked) for path in ("/embed", "/predict")]
        assert embedded.status_code == predicted.status_code >= 400, asked
        assert embedded.json()["code"] == predicted.json()["code"]
        assert embedded.json()["detail"] == predicted.json()["detail"]


async def test_a_model_is_named_in_the_path_or_as_a_parameter(http: httpx.AsyncClient, published: Published) -> None:
    other = published(name="pets", publish="never")
    for path in ("/embed/pets/1", "/embed?model=pets/1", f"/embed/{other.id}"):
        answer = await http.post(path, files=parts(SEVEN))
        assert (answer.status_code, answer.json()["model"]["id"]) == (200, other.id), path


async def test_a_model_without_a_linear_last_layer_says_so(
    http: httpx.AsyncClient, published: Published, digit_weights: npt.NDArray[np.float32]
) -> None:
    published(tiny_onnx(digit_weights, with_features=False), name="squeezed", network="squeezenet1_1")
    answer = await http.post("/embed/squeezed", files=parts(SEVEN))
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.json()["detail"].startswith("squeezed/1 has no features: the last layer of its network")


async def test_features_are_asked_of_the_graph_only_where_wanted(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, wanted = OnnxPredictor.run, []

    def seen(predictor: OnnxPredictor, images: Images, with_features: bool = False) -> Outputs:
        wanted.append(with_features)
        return run(predictor, images, with_features)

    monkeypatch.setattr(OnnxPredictor, "run", seen)
    await http.post("/predict", files=parts(SEVEN))
    await http.post("/embed", files=parts(SEVEN))
    assert wanted == [False, True]
