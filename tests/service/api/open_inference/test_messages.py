"""The Open Inference Protocol by hand, tritonclient and KServe."""

import asyncio
import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton
from kserve import InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig
from PIL import Image
from tritonclient.utils import InferenceServerException

from core.db.tables import Model
from core.settings import Settings
from service.api.open_inference import messages
from tests.conftest import DIGIT_FILES, running
from tests.support.fakes import tiny_onnx

Published = Callable[..., Model]
SEVEN = DIGIT_FILES[7].read_bytes()


@pytest.fixture
def digits() -> npt.NDArray[np.uint8]:
    """Load all ten digits, n x 28 x 28 x 1."""
    return np.stack([np.asarray(Image.open(file).convert("L")) for file in DIGIT_FILES])[..., None]


@pytest.fixture
def model(published: Published) -> Model:
    """A model that serves from the start.

    Request this fixture before the service's.
    """
    return published()


@pytest.fixture
def client(model: Model, live: str) -> Iterator[triton.InferenceServerClient]:
    made = triton.InferenceServerClient(live.removeprefix("http://"))
    yield made
    made.close()


def body(datatype: str, shape: list[int], data: list[Any], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "images", "datatype": datatype, "shape": shape, "data": data}], **more}


def asked(images: npt.NDArray[Any], datatype: str, binary: bool) -> triton.InferInput:
    made = triton.InferInput("images", list(images.shape), datatype)
    made.set_data_from_numpy(images, binary_data=binary)
    return made


# -- tritonclient, unmodified


def test_triton_finds_server_and_model_ready(client: triton.InferenceServerClient, model: Model) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready(model.id, str(model.version))
    assert not client.is_model_ready("model_none")
    assert not client.is_model_ready(model.id, "99")


def test_triton_reads_the_metadata(client: triton.InferenceServerClient, model: Model) -> None:
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification", "statistics"]
    told = client.get_model_metadata("digits")
    assert (told["name"], told["versions"]) == ("digits", [str(model.version)])
    assert told["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28, 1]}]
    assert [output["shape"] for output in told["outputs"]] == [[-1, 10], [-1]]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("datatype", "form"),
    [
        ("UINT8", lambda images: images),
        ("UINT8", lambda images: images[..., 0]),
        ("UINT8", lambda images: images.transpose(0, 3, 1, 2)),
        ("UINT8", lambda images: images.repeat(3, 3)),
        ("FP32", lambda images: images.astype(np.float32) / 255),
        ("FP32", lambda images: images.astype(np.float32)),
        ("INT64", lambda images: images.astype(np.int64)),
    ],
)
def test_triton_asks_with_numbers(
    client: triton.InferenceServerClient,
    digits: npt.NDArray[np.uint8],
    datatype: str,
    form: Callable[[npt.NDArray[Any]], npt.NDArray[Any]],
    binary: bool,
) -> None:
    images = np.ascontiguousarray(form(digits))
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "labels")]
    answer = client.infer("digits", [asked(images, datatype, binary)], outputs=outputs, request_id="mine")
    assert answer.as_numpy("probabilities").shape == (10, 10)
    assert answer.as_numpy("probabilities").argmax(1).tolist() == list(range(10))
    labels = [label.decode() if isinstance(label, bytes) else label for label in answer.as_numpy("labels").tolist()]
    assert labels == [str(digit) for digit in range(10)]
    assert answer.get_response()["id"] == "mine"


def test_triton_asks_with_files(client: triton.InferenceServerClient) -> None:
    files = np.array([file.read_bytes() for file in DIGIT_FILES], dtype=np.object_)
    answer = client.infer("digits", [asked(files, "BYTES", binary=True)])
    assert answer.as_numpy("probabilities").argmax(1).tolist() == list(range(10))


def test_triton_asks_for_the_likeliest_classes(
    client: triton.InferenceServerClient, digits: npt.NDArray[np.uint8]
) -> None:
    outputs = [triton.InferRequestedOutput("probabilities", class_count=2)]
    answer = client.infer("digits", [asked(digits, "UINT8", binary=True)], outputs=outputs)
    classes = answer.as_numpy("probabilities")
    assert classes.shape == (10, 2)
    probability, index, label = classes[7, 0].decode().split(":")
    assert (index, label) == ("7", "7")
    assert float(probability) > 0.1


def test_triton_reads_the_statistics(client: triton.InferenceServerClient, digits: npt.NDArray[np.uint8]) -> None:
    for _ in range(3):
        client.infer("digits", [asked(digits, "UINT8", binary=True)])
    with pytest.raises(InferenceServerException):
        client.infer("digits", [asked(digits[:, :, :, 0, None, None], "UINT8", binary=True)])
    (told,) = client.get_inference_statistics("digits")["model_stats"]
    assert (told["inference_count"], told["execution_count"]) == (30, 3)
    assert {name: told["inference_stats"][name]["count"] for name in ("success", "fail", "compute_infer")} == {
        "success": 3,
        "fail": 1,
        "compute_infer": 3,
    }
    assert told["inference_stats"]["success"]["ns"] > told["inference_stats"]["compute_infer"]["ns"] > 0
    assert [(runs["batch_size"], runs["compute_infer"]["count"]) for runs in told["batch_stats"]] == [(10, 3)]
    assert client.get_inference_statistics()["model_stats"] == [told]


async def test_requests_that_share_runs_of_the_network_count_these_once(
    published: Published, settings: Settings
) -> None:
    published()
    async with running(settings.model_copy(update={"predict_batch": 4})) as http:
        seven = base64.b64encode(SEVEN).decode()
        asking = [_post(http, body("BYTES", [images], [seven] * images)) for images in (1, 1, 6)]
        assert {answer.status_code for answer in await asyncio.gather(*asking)} == {200}
        (told,) = (await http.get("/v2/models/digits/stats")).json()["model_stats"]
        counted = (await http.get("/metrics")).text
    assert told["inference_count"] == 8 == sum(_images(runs) for runs in told["batch_stats"])
    assert f"tuneserve_batch_images_count {told['execution_count']}.0\n" in counted
    for runs in told["batch_stats"]:
        assert 1 <= runs["batch_size"] <= 4
        assert runs["compute_input"]["count"] == runs["compute_output"]["count"] == runs["compute_infer"]["count"]
        assert runs["compute_infer"]["ns"] > 0


def _images(runs: dict[str, Any]) -> int:
    return int(runs["batch_size"] * runs["compute_infer"]["count"])


def test_triton_is_told_what_is_wrong(client: triton.InferenceServerClient, digits: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(InferenceServerException, match="There is no model model_none"):
        client.infer("model_none", [asked(digits, "UINT8", binary=True)])
    with pytest.raises(InferenceServerException, match="There is no output scores"):
        client.infer("digits", [asked(digits, "UINT8", binary=True)], outputs=[triton.InferRequestedOutput("scores")])


def test_triton_sees_from_which_images_a_model_abstains(
    published: Published, digit_weights: npt.NDArray[np.float32], client: triton.InferenceServerClient
) -> None:
    telling = published(onnx=tiny_onnx(digit_weights, scored=True)).id
    (*_, output) = client.get_model_metadata(telling)["outputs"]
    assert output == {"name": "ood_score", "datatype": "FP32", "shape": [-1]}
    grey = np.stack([np.full((28, 28, 1), level, np.uint8) for level in (20, 200)])
    for outputs in (None, [triton.InferRequestedOutput("ood_score")]):
        for preprocess, abstained in (("none", [False, True]), ("auto", [True, True])):  # auto finds no digit on them
            answer = client.infer(
                telling, [asked(grey, "UINT8", binary=True)], outputs=outputs, parameters={"preprocess": preprocess}
            )
            assert answer.as_numpy("ood_score").dtype == np.float32
            assert (answer.as_numpy("ood_score") > 1).tolist() == abstained


def test_triton_is_told_that_a_model_has_no_ood_score(
    client: triton.InferenceServerClient, digits: npt.NDArray[np.uint8]
) -> None:
    assert "ood_score" not in str(client.get_model_metadata("digits"))
    with pytest.raises(InferenceServerException, match="There is no output ood_score; there are probabilities, lab"):
        client.infer(
            "digits", [asked(digits, "UINT8", binary=True)], outputs=[triton.InferRequestedOutput("ood_score")]
        )


# -- KServe's client, unmodified


async def test_kserve_asks(live: str, model: Model, digits: npt.NDArray[np.uint8]) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    try:
        assert await client.is_server_live(live)
        assert await client.is_server_ready(live)
        assert await client.is_model_ready(live, model.id)
        for binary in (True, False):
            given = InferInput("images", list(digits.shape), "UINT8")
            given.set_data_from_numpy(digits, binary_data=binary)
            answer = await client.infer(live, InferRequest("digits", [given]), model_name="digits")
            assert isinstance(answer, InferResponse)
            found = {output.name: output for output in answer.outputs}
            assert found["probabilities"].as_numpy().argmax(1).tolist() == list(range(10))
            assert found["labels"].data == [str(digit) for digit in range(10)]
    finally:
        await client.close()


# -- by hand


async def test_files_in_json_are_base64(model: Model, http: httpx.AsyncClient) -> None:
    given = body("BYTES", [1], [base64.b64encode(SEVEN).decode()])
    answer = (await asyncio.wait_for(_post(http, given), 20)).json()
    labels = next(output for output in answer["outputs"] if output["name"] == "labels")
    assert labels == {"name": "labels", "datatype": "BYTES", "shape": [1], "data": ["7"]}


async def test_an_image_with_nothing_on_it_has_no_digit_and_no_probabilities(
    model: Model, http: httpx.AsyncClient
) -> None:
    blank = io.BytesIO()
    Image.new("L", (40, 40), 255).save(blank, "PNG")
    files = [base64.b64encode(data).decode() for data in (SEVEN, blank.getvalue())]
    answer = (await _post(http, body("BYTES", [2], files))).json()
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    assert found["labels"] == ["7", "no_digit"]
    assert found["probabilities"][10:] == [0.0] * 10


async def test_labels_and_classes_of_no_images_are_bytes_too(model: Model, http: httpx.AsyncClient) -> None:
    classified = {"name": "probabilities", "parameters": {"classification": 2}}
    for outputs in ([], [classified, {"name": "labels"}]):
        answer = (await _post(http, body("UINT8", [0, 28, 28], [], outputs=outputs))).json()
        found = {output["name"]: (output["datatype"], output["shape"]) for output in answer["outputs"]}
        assert found["labels"] == ("BYTES", [0])
        assert found["probabilities"] == (("BYTES", [0, 2]) if outputs else ("FP32", [0, 10]))


async def test_files_in_json_may_be_data_uris(model: Model, http: httpx.AsyncClient) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(SEVEN).decode()}"
    answer = (await _post(http, body("BYTES", [1], [uri], outputs=[{"name": "labels"}]))).json()
    assert answer["outputs"][0]["data"] == ["7"]


@pytest.mark.parametrize(
    ("given", "status", "reason"),
    [
        (b"{", 400, "not JSON"),
        ({"inputs": []}, 400, "/inputs: List should have at least 1 item"),
        (body("UINT8", [1, 2], [1, 2]), 400, "images: the shape is"),
        (body("UINT8", [1, 2, 2], [1, 2]), 400, "2 numbers do not have the shape"),
        (body("UINT8", [1, -1, 2], [1, 2]), 400, "/inputs/0/shape/1: Input should be greater than or equal to 0"),
        (body("UINT8", [1] * 5_000, [1]), 400, "/inputs/0/shape: List should have at most 4 items"),
        (body("UINT8", [2**62, 4, 1], [1]), 400, "/inputs/0/shape/0: Input should be less than or equal to 32768"),
        (body("UINT8", [0, 2**15, 2**15, 2**15], []), 400, "the shape is"),
        (body("BYTES", [2**40], []), 400, "/inputs/0/shape/0: Input should be"),
        (body("UINT8", [1, 1, 1], [1], outputs=[{"name": "labels"}] * 12_000), 400, "/outputs: List should have at"),
        (body("UINT8", [1, 1, 1], [1], outputs=[{"name": "labels"}] * 2), 400, "/outputs: an output is named twice"),
        ({"inputs": [{}] * 400_000}, 400, "/inputs/0/name: Field required"),
        (body("UINT8", [1, 1, 2], [1, 300]), 400, "its data is not UINT8"),
        (body("FP32", [1, 1, 2], ["a", "b"]), 400, "its data is not FP32"),
        (body("BYTES", [1], ["not base64!"]), 400, "images is not base64"),
        (body("BYTES", [1], [7]), 400, "texts in base64"),
        (body("BYTES", [2], [base64.b64encode(SEVEN).decode()]), 400, "1 elements do not have the shape"),
        (body("BYTES", [1], [base64.b64encode(b"no image").decode()]), 400, "not an image"),
        (body("FP16", [1], [1]), 400, "/inputs/0/datatype: Input should be"),
        (body("UINT8", [0, 28, 28], []), 200, ""),
        ({"inputs": [{"name": "x", "datatype": "UINT8", "shape": [1, 1, 1], "data": [1]}]}, 400, "no input x"),
        ({"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 1, 1]}]}, 400, "neither data nor"),
        (body("UINT8", [1, 300, 1, 1], [0] * 299), 400, "299 numbers"),
        (body("UINT8", [300, 1, 1], [0] * 300), 400, "300 images in one request; at most 256"),
    ],
)
async def test_what_is_wrong_is_told_in_the_protocols_own_form(
    model: Model, http: httpx.AsyncClient, given: Any, status: int, reason: str
) -> None:
    answer = await _post(http, given)
    assert answer.status_code == status
    if status != 200:
        assert list(answer.json()) == ["error"]
        assert reason in answer.json()["error"]


@pytest.mark.parametrize(
    ("length", "size", "reason"),
    [
        (9_999, 4, "and the body has"),
        (None, 5, "binary_data_size is 5, and 4 bytes are left"),
        (None, 3, "1 bytes follow the last tensor"),
    ],
)
async def test_binary_tensors_that_do_not_add_up_are_refused(
    model: Model, http: httpx.AsyncClient, length: int | None, size: int, reason: str
) -> None:
    given = {"name": "images", "datatype": "UINT8", "shape": [1, 1, size], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [given]}).encode()
    headers = {"Inference-Header-Content-Length": str(length or len(head))}
    answer = await http.post("/v2/models/digits/infer", content=head + b"\0" * 4, headers=headers)
    assert (answer.status_code, reason in answer.json()["error"]) == (400, True)


async def test_large_json_is_refused_where_a_binary_tensor_of_that_size_is_read(
    settings: Settings, published: Callable[..., Model]
) -> None:
    published()
    given = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28]}
    head = json.dumps({"inputs": [given | {"parameters": {"binary_data_size": 784}}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    async with running(settings.model_copy(update={"max_json_bytes": len(head)})) as http:
        binary = await http.post("/v2/models/digits/infer", content=head + b"\0" * 784, headers=headers)
        answer = await _post(http, {"inputs": [given | {"data": [0] * 784}]})
    assert (binary.status_code, answer.status_code) == (200, 413)
    assert "binary tensors to /v2" in answer.json()["error"]


async def test_elements_that_are_cut_off_are_refused(model: Model, http: httpx.AsyncClient) -> None:
    data = (100).to_bytes(4, "little") + b"abc"
    given = {"name": "images", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [given]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = await http.post("/v2/models/digits/infer", content=head + data, headers=headers)
    assert "said to have 100 bytes, and 3 are left" in answer.json()["error"]


async def test_without_a_model_it_is_not_ready(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v2/health/ready")
    assert (answer.status_code, list(answer.json())) == (503, ["error"])
    assert (await http.get("/v2/health/live")).json() == {"live": True}


async def test_paths_that_lead_nowhere_answer_in_that_form_too(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v2/nothing")).json() == {"error": "Not Found"}
    assert (await http.get("/v2")).json()["name"] == "tuneserve"


async def _post(http: httpx.AsyncClient, given: Any) -> httpx.Response:
    if isinstance(given, bytes):
        return await http.post("/v2/models/digits/infer", content=given)
    return await http.post("/v2/models/digits/infer", json=given)


async def test_numbers_are_read_and_written_while_other_requests_are_answered(
    model: Model, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    read, body_of = messages.read_request, messages.Response.body

    def noting(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            threads.append(threading.current_thread().name.rstrip("0123456789"))
            return work(*given)

        return run

    monkeypatch.setattr(messages, "read_request", noting(read))
    monkeypatch.setattr(messages.Response, "body", noting(body_of))
    assert (await _post(http, body("UINT8", [1, 2, 2], [0, 0, 0, 0]))).status_code == 200
    assert threads == ["decode_", "decode_"]
