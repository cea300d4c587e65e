"""POST /predict through the whole service, answered by a real graph.

The graph has one layer.
"""

import asyncio
import base64
import io
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageChops, ImageOps

from core.artifacts.store import ArtifactStore, LocalStore
from core.db.tables import Model
from core.inference.onnx_predictor import Images, OnnxPredictor, Outputs, Predictor
from core.settings import Settings
from service.inference.decode_pool import DecodePool
from service.inference.self_test import self_test
from service.web.json_body import read_json
from tests.conftest import DIGIT_FILES, running
from tests.support.fakes import NO_GRAPH, answered, until

Published = Callable[..., Model]
SEVEN = DIGIT_FILES[7].read_bytes()
BAD = b"this is no image"


@pytest.fixture
async def http(settings: Settings, published: Published) -> AsyncIterator[httpx.AsyncClient]:
    """The service, and a model that it serves."""
    published()
    async with running(settings) as client:
        yield client


def parts(*contents: bytes, name: str = "file") -> list[tuple[str, tuple[str, bytes]]]:
    return [(name, (f"{number}.png", content)) for number, content in enumerate(contents)]


def png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def pixels(file: bytes) -> list[Any]:
    with Image.open(io.BytesIO(file)) as image:
        values: list[Any] = np.asarray(image.convert("L")).tolist()
    return values


def labels(answer: httpx.Response) -> list[str | None]:
    assert answer.status_code == 200, answer.text
    return [prediction.get("label") for prediction in answer.json()["predictions"]]


async def raw(http: httpx.AsyncClient, data: bytes, content_type: str | None = "image/png") -> httpx.Response:
    headers = {} if content_type is None else {"Content-Type": content_type}
    return await http.post("/predict", content=data, headers=headers)


# -- bodies


async def test_many_files_are_answered_in_their_order(http: httpx.AsyncClient) -> None:
    order = [7, 0, 9, 1, 2, 8, 3, 6, 4, 5]
    answer = await http.post("/predict", files=parts(*(DIGIT_FILES[digit].read_bytes() for digit in order)))
    assert labels(answer) == [str(digit) for digit in order]


@pytest.mark.parametrize(
    "content_type",
    ["image/png", "image/jpeg", "IMAGE/PNG; q=1", "application/octet-stream", "application/x-www-form-urlencoded"],
)
async def test_the_bytes_of_one_file_are_answered_whatever_curl_calls_them(
    http: httpx.AsyncClient, content_type: str
) -> None:
    assert labels(await raw(http, SEVEN, content_type)) == ["7"]


async def test_json_takes_base64_and_pixels(http: httpx.AsyncClient) -> None:
    fractions = (np.array(pixels(SEVEN)) / 255).tolist()
    images = [{"b64": base64.b64encode(SEVEN).decode()}, {"array": pixels(SEVEN)}, {"array": fractions}]
    assert labels(await http.post("/predict", json={"images": images})) == ["7", "7", "7"]


@pytest.mark.parametrize("inverted", [False, True])
async def test_dark_on_light_or_light_on_dark_large_and_off_centre_is_read(
    http: httpx.AsyncClient, inverted: bool
) -> None:
    with Image.open(DIGIT_FILES[7]) as image:
        drawn = image.convert("L").resize((400, 400))
    sheet = Image.new("L", (900, 700), int(np.median(np.asarray(drawn))))
    sheet.paste(drawn, (450, 20))
    assert labels(await raw(http, png(ImageOps.invert(sheet) if inverted else sheet))) == ["7"]


async def test_the_form_is_told_that_it_has_no_file(http: httpx.AsyncClient) -> None:
    answer = await http.post("/predict", files={"note": (None, "hello")})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/file")


async def test_files_count_whatever_their_field_is_called(http: httpx.AsyncClient) -> None:
    assert labels(await http.post("/predict", files=parts(SEVEN, name="image"))) == ["7"]


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded"])
async def test_an_empty_body_is_refused(http: httpx.AsyncClient, content_type: str) -> None:
    assert (await raw(http, b"", content_type)).status_code == 422


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "video/mp4", "", None])
async def test_a_type_that_holds_no_image_is_refused(http: httpx.AsyncClient, content_type: str | None) -> None:
    answer = await raw(http, SEVEN, content_type)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_type")
    assert "image/*" in answer.json()["detail"]


@pytest.mark.parametrize("data", [b"", b"--x", b"--x\r\nContent-Disposition: form-data\r\n\r\n", b"\x00" * 50])
@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=x"])
async def test_a_form_that_is_none_is_refused(http: httpx.AsyncClient, data: bytes, content_type: str) -> None:
    answer = await raw(http, data, content_type)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/images"),
        ({"images": []}, "/images"),
        ({"images": {}}, "/images"),
        ({"images": [{}]}, "/images/0"),
        ({"images": [{"b64": "", "array": []}]}, "/images/0"),
        ({"images": [{"array": [[0]]}, {"b64": 7}]}, "/images/1/b64"),
        ({"images": [{"url": "http://x"}]}, "/images/0/url"),
        ({"images": [{"array": [[0]]}], "top": 3}, "/top"),
        ({"images": [{"array": [[0]]}, 7]}, "/images/1"),
    ],
    ids=str,
)
async def test_json_of_another_shape_is_pointed_at(http: httpx.AsyncClient, body: object, pointer: str) -> None:
    answer = await http.post("/predict", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"images": NaN}', b"\xff"])
async def test_what_is_not_json_is_refused(http: httpx.AsyncClient, data: bytes) -> None:
    answer = await raw(http, data, "application/json")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


# -- bad images


async def test_one_bad_image_among_many_leaves_the_others_their_answers(http: httpx.AsyncClient) -> None:
    answer = await http.post("/predict", files=parts(SEVEN, BAD, DIGIT_FILES[3].read_bytes()))
    assert labels(answer) == ["7", None, "3"]
    error = answer.json()["predictions"][1]["error"]
    assert (error["status"], error["code"]) == (422, "not_an_image")
    assert error["request_id"] == answer.headers["x-request-id"]
    assert all("error" not in answer.json()["predictions"][index] for index in (0, 2))


async def test_many_images_that_are_all_bad_have_an_error_each(http: httpx.AsyncClient) -> None:
    answer = await http.post("/predict", files=parts(BAD, SEVEN[:200]))
    assert labels(answer) == [None, None]
    assert all(prediction["error"]["code"] == "not_an_image" for prediction in answer.json()["predictions"])


@pytest.mark.parametrize("data", [BAD, SEVEN[: len(SEVEN) // 2]])
async def test_a_single_bad_image_is_a_bad_request(http: httpx.AsyncClient, data: bytes) -> None:
    for answer in (await raw(http, data), await http.post("/predict", files=parts(data))):
        assert (answer.status_code, answer.json()["code"]) == (422, "not_an_image")


@pytest.mark.parametrize(
    ("entry", "words"),
    [({"b64": "?"}, "base64"), ({"array": [[1, 2], [3]]}, "same length"), ({"array": [[10**400]]}, "numbers")],
)
async def test_json_that_holds_no_picture_is_refused(http: httpx.AsyncClient, entry: object, words: str) -> None:
    answer = await http.post("/predict", json={"images": [entry]})
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


# -- options


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (3, 3), (10, 10), (100, 10)])
async def test_the_likeliest_classes_come_first(http: httpx.AsyncClient, asked: int, given: int) -> None:
    answer = await http.post(f"/predict?top_k={asked}", files=parts(SEVEN))
    (prediction,) = answer.json()["predictions"]
    chances = [candidate["probability"] for candidate in prediction["top_k"]]
    assert len(chances) == given
    assert chances == sorted(chances, reverse=True)
    assert prediction["top_k"][0] == {"label": prediction["label"], "probability": prediction["probability"]}
    assert given < 10 or sum(chances) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("query", ["top_k=0", "top_k=101", "top_k=x", "preprocess=maybe"])
async def test_an_option_that_means_nothing_is_refused(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.post(f"/predict?{query}", files=parts(SEVEN))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "query/" + query.split("=")[0])


async def test_naming_what_is_meant_anyway_changes_nothing(http: httpx.AsyncClient) -> None:
    answers = []
    cases: list[tuple[str, dict[str, str]]] = [
        ("", {}),
        ("?top_k=3&preprocess=auto", {}),
        ("", {"X-Timeout-Ms": "60000"}),
    ]
    for query, headers in cases:
        answer = await http.post(f"/predict{query}", content=SEVEN, headers={"Content-Type": "image/png"} | headers)
        told = answer.json()
        assert told.pop("timing_ms").keys() == {"decode", "queue", "inference", "total"}
        answers.append((answer.status_code, answer.headers["content-type"], told))
    assert answers[0] == answers[1] == answers[2]


async def test_without_preprocessing_the_image_is_only_resized(http: httpx.AsyncClient) -> None:
    with Image.open(DIGIT_FILES[7]) as image:
        size = list(image.size)
    (found,) = (await http.post("/predict", files=parts(SEVEN))).json()["predictions"]
    (resized,) = (await http.post("/predict?preprocess=none", files=parts(SEVEN))).json()["predictions"]
    assert found["preprocessing"]["centred"]
    assert resized["preprocessing"] == {"resized_from": size}


async def test_who_asks_to_be_shown_gets_the_image_that_the_network_saw(http: httpx.AsyncClient) -> None:
    blank = png(Image.new("L", (90, 90), 255))
    answer = await http.post("/predict?include_input=true", files=parts(SEVEN, BAD, blank))
    seven, bad, nothing = answer.json()["predictions"]
    assert "model_input" not in bad
    assert np.max(pixels(base64.b64decode(nothing["model_input"]))) == 0
    again = await http.post("/predict?include_input=true", json={"images": [{"b64": seven["model_input"]}]})
    (same,) = again.json()["predictions"]
    assert (same["label"], same["model_input"], same["preprocessing"]) == (
        "7",
        seven["model_input"],
        {"unchanged": True},
    )


async def test_who_does_not_ask_gets_no_image(http: httpx.AsyncClient) -> None:
    (seven,) = (await http.post("/predict", files=parts(SEVEN))).json()["predictions"]
    assert "image" not in seven


@pytest.mark.parametrize("preprocess", ["auto", "center", "invert"])
async def test_a_dark_digit_is_turned_light_in_each_way_to_preprocess(http: httpx.AsyncClient, preprocess: str) -> None:
    with Image.open(DIGIT_FILES[7]) as image:
        framed = ImageChops.offset(image, 0, 14)  # its centre of mass where MNIST's are: invert does not move it
    answer = await http.post(f"/predict?preprocess={preprocess}", files=parts(png(framed)))
    assert labels(answer) == ["7"]
    assert answer.json()["predictions"][0]["preprocessing"]["inverted"]


async def test_a_blank_image_is_no_digit(http: httpx.AsyncClient) -> None:
    answer = await http.post("/predict", files=parts(png(Image.new("L", (90, 90), 255)), SEVEN))
    blank, seven = answer.json()["predictions"]
    assert (blank["label"], blank["abstained"], "probability" in blank) == ("no_digit", True, False)
    assert (seven["label"], seven["abstained"]) == ("7", False)


@pytest.mark.parametrize(("strange", "abstained"), [(0.99996, False), (1.23456, True), (-0.5, False)])
async def test_an_image_unlike_the_training_images_is_answered_with_a_warning(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, strange: float, abstained: bool
) -> None:
    run = OnnxPredictor.run

    def odd(predictor: OnnxPredictor, images: Images, _features: bool) -> Outputs:
        return Outputs(run(predictor, images).probabilities, np.full(len(images), strange, np.float32))

    monkeypatch.setattr(OnnxPredictor, "run", odd)
    (seven,) = (await raw(http, SEVEN)).json()["predictions"]
    assert (seven["label"], seven["abstained"], seven["ood_score"]) == ("7", abstained, round(strange, 4))
    assert seven.get("reason") == ("unlike the training images" if abstained else None)


async def test_a_model_without_a_ood_scorer_never_abstains_by_it(http: httpx.AsyncClient) -> None:
    (seven,) = (await raw(http, SEVEN)).json()["predictions"]
    assert (seven["abstained"], "ood_score" in seven, "reason" in seven) == (False, False, False)


async def test_the_answer_names_its_model_and_its_times(http: httpx.AsyncClient) -> None:
    body = (await raw(http, SEVEN)).json()
    assert body["model"] == {"name": "digits", "version": 1, "id": "model_1", "job_id": "job_1"}
    assert set(body["timing_ms"]) == {"decode", "queue", "inference", "total"}
    assert all(value >= 0 for value in body["timing_ms"].values())


# -- limits


async def test_too_many_images_are_refused_in_every_form(settings: Settings, published: Published) -> None:
    published()
    async with running(settings.model_copy(update={"max_images_per_request": 2})) as http:
        form = await http.post("/predict", files=parts(SEVEN, SEVEN, SEVEN))
        json = await http.post("/predict", json={"images": [{"array": [[0]]}] * 3})
        enough = await http.post("/predict", files=parts(SEVEN, SEVEN))
    for answer in (form, json):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert "2" in answer.json()["detail"]
    assert labels(enough) == ["7", "7"]


async def test_digits_are_decoded_in_threads_and_what_is_large_or_damaged_in_processes(
    http: httpx.AsyncClient,
) -> None:
    pool: DecodePool = http._transport.app.state.service.pipeline.pool  # type: ignore[attr-defined]
    with Image.open(DIGIT_FILES[7]) as image:
        large = image.convert("L").resize((1100, 1100))
    assert labels(await http.post("/predict", files=parts(SEVEN, png(large.resize((800, 800)))))) == ["7", "7"]
    assert pool.pids == []
    large.save(jpeg := io.BytesIO(), "JPEG")
    files = parts(SEVEN, png(large), jpeg.getvalue()[:-2], png(large)[:-100])
    assert labels(await http.post("/predict", files=files)) == ["7", "7", "7", None]
    assert 1 <= len(pool.pids) <= 2


async def test_a_picture_of_too_many_pixels_is_too_large(settings: Settings, published: Published) -> None:
    published()
    async with running(settings.model_copy(update={"max_image_pixels": 100 * 100})) as http:
        answer = await raw(http, SEVEN)
        mixed = await http.post("/predict", files=parts(SEVEN, png(Image.new("L", (50, 50)))))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert [prediction.get("error", {}).get("status") for prediction in mixed.json()["predictions"]] == [413, None]


@pytest.mark.parametrize("content_type", ["image/png", "application/json", "multipart/form-data; boundary=x"])
async def test_a_body_of_too_many_bytes_is_too_large(
    settings: Settings, published: Published, content_type: str
) -> None:
    published()
    async with running(settings.model_copy(update={"max_body_bytes": 1000})) as http:
        answer = await raw(http, b"--x\r\n" + b"x" * 1000, content_type)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_large_json_is_refused_where_a_file_of_that_size_is_read(
    settings: Settings, published: Published
) -> None:
    published()
    sheet = png(Image.effect_noise((120, 120), 90))
    async with running(settings.model_copy(update={"max_json_bytes": len(sheet)})) as http:
        json = await http.post("/predict", json={"images": [{"b64": base64.b64encode(sheet).decode()}]})
        file = await raw(http, sheet)
    assert (json.status_code, json.json()["code"], file.status_code) == (413, "too_large", 200)
    assert "multipart/form-data" in json.json()["detail"]
    assert "/v2" in json.json()["detail"]


async def test_json_that_takes_long_to_read_keeps_nobody_waiting(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []

    def noting(*given: Any) -> Any:
        threads.append(threading.current_thread().name)
        return read_json(*given)

    monkeypatch.setattr("service.inference.request_images.read_json", noting)
    for array in ([[0]], np.zeros((200, 200), int).tolist()):
        assert (await http.post("/predict", json={"images": [{"array": array}]})).status_code == 200
    assert threads == [threading.main_thread().name, "AnyIO worker thread"]


async def test_more_images_than_may_wait_are_told_to_come_again(settings: Settings, published: Published) -> None:
    published()
    async with running(settings.model_copy(update={"predict_queue": 2})) as http:
        answer = await http.post("/predict", files=parts(SEVEN, SEVEN, SEVEN))
    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
    assert int(answer.headers["retry-after"]) > 0


async def test_many_people_at_once_each_get_their_own_answer(http: httpx.AsyncClient) -> None:
    wanted = [number % 10 for number in range(40)]
    answers = await asyncio.gather(*(raw(http, DIGIT_FILES[digit].read_bytes()) for digit in wanted))
    assert [labels(answer) for answer in answers] == [[str(digit)] for digit in wanted]


async def test_who_waits_no_longer_is_told_so_and_not_worked_for(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, worked_on = threading.Event(), []
    run = OnnxPredictor.run

    def held(predictor: OnnxPredictor, images: Images, _features: bool = False) -> Outputs:
        worked_on.append(len(images))
        released.wait(30)
        return run(predictor, images)

    monkeypatch.setattr(OnnxPredictor, "run", held)
    first = asyncio.create_task(raw(http, SEVEN))
    await until(lambda: bool(worked_on))
    late = await http.post("/predict", content=SEVEN, headers={"Content-Type": "image/png", "X-Timeout-Ms": "20"})
    released.set()
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    assert labels(await first) == ["7"]
    assert labels(await raw(http, SEVEN)) == ["7"]
    assert worked_on == [1, 1]  # nothing was run for the one that left


@pytest.mark.parametrize("path", ["/predict?model=model_1", "/v2/models/model_1/infer"])
async def test_a_model_that_is_loaded_for_a_request_takes_no_longer_than_the_client_waits(
    settings: Settings, published: Published, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    asked_for, _ = published(), published()
    released = threading.Event()

    def held(predictor: Predictor, store: ArtifactStore) -> str:
        if predictor.model.id == asked_for.id:
            released.wait(30)
        return self_test(predictor, store)

    monkeypatch.setattr("service.inference.model_loader.self_test", held)
    async with running(settings) as http:
        late = await http.post(path, content=SEVEN, headers={"Content-Type": "image/png", "X-Timeout-Ms": "50"})
        released.set()
    assert late.status_code == 504


@pytest.mark.parametrize("given", ["0", "-5", "soon"])
async def test_a_deadline_that_is_none_is_refused_by_name(http: httpx.AsyncClient, given: str) -> None:
    headers = {"Content-Type": "image/png", "X-Timeout-Ms": given}
    answer = await http.post("/predict", content=SEVEN, headers=headers)
    assert answer.status_code == 422
    assert "x-timeout-ms" in answer.json()["errors"][0]["pointer"].lower()


# -- models come and go


async def test_without_a_model_the_service_asks_to_come_again(settings: Settings) -> None:
    async with running(settings) as http:
        answer = await raw(http, SEVEN)
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert int(answer.headers["retry-after"]) > 0
    assert "POST /jobs" in answer.json()["detail"]


async def test_a_new_model_answers_without_a_restart(settings: Settings, published: Published) -> None:
    async with running(settings) as http:
        for version in (1, 2):
            published()

            async def serves(version: int = version) -> bool:
                body = (await raw(http, SEVEN)).json()
                return bool(body.get("model", {}).get("version") == version)

            await answered(serves)


async def test_a_model_that_cannot_be_loaded_leaves_the_old_one_answering(
    settings: Settings, published: Published
) -> None:
    old = published()
    async with running(settings) as http:
        broken = published(onnx=NO_GRAPH)

        async def tried() -> bool:
            return broken.id in (await http.get("/readyz")).text

        await answered(tried)
        answer = await raw(http, SEVEN)
        assert (labels(answer), answer.json()["model"]["id"]) == (["7"], old.id)
        newer = published()

        async def swapped() -> bool:
            return bool((await raw(http, SEVEN)).json()["model"]["id"] == newer.id)

        await answered(swapped)
        assert broken.id not in (await http.get("/readyz")).text


# -- other models, by name


async def ask(http: httpx.AsyncClient, model: str) -> httpx.Response:
    return await http.post("/predict", params={"model": model}, files=parts(SEVEN))


async def test_a_model_is_asked_by_its_id_or_alias(settings: Settings, published: Published) -> None:
    better, worse = published(accuracy=0.95), published(accuracy=0.9)
    async with running(settings) as http:
        wanted = {
            better.id: better,
            "digits@best": better,
            worse.id: worse,
            "digits@latest": worse,
            "digits": worse,
            "digits/1": better,
        }
        for name, model in wanted.items():
            answer = await ask(http, name)
            assert (labels(answer), answer.json()["model"]["id"]) == (["7"], model.id)


async def test_many_people_may_ask_different_models_at_once(settings: Settings, published: Published) -> None:
    made = [published().id for _ in range(3)]
    async with running(settings) as http:
        answers = await asyncio.gather(*(ask(http, made[number % 3]) for number in range(30)))
    assert [answer.json()["model"]["id"] for answer in answers] == [made[number % 3] for number in range(30)]
    assert all(labels(answer) == ["7"] for answer in answers)


@pytest.mark.parametrize("name", ["model_none", "shop", "", "../model_1"])
async def test_a_model_that_is_not_there_is_not_found(http: httpx.AsyncClient, name: str) -> None:
    answer = await ask(http, name)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_model_that_cannot_be_loaded_says_why_and_the_others_answer(
    settings: Settings, published: Published
) -> None:
    broken = published(onnx=NO_GRAPH)
    good = published()
    async with running(settings) as http:
        answer = await ask(http, broken.id)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert f"{broken.id} cannot be loaded" in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert (await raw(http, SEVEN)).json()["model"]["id"] == good.id
        assert (await http.get("/readyz")).json()["checks"]["target"]["ok"]


async def test_a_model_whose_file_was_changed_is_refused(
    settings: Settings, published: Published, store: LocalStore
) -> None:
    damaged, _ = published(), published()
    data = store.fetch(f"{damaged.key}/model.onnx").read_bytes()
    store.put(f"{damaged.key}/model.onnx", data[:-1] + bytes([data[-1] ^ 1]))
    async with running(settings) as http:
        answer = await ask(http, damaged.id)
    assert answer.status_code == 503
    assert "its manifest says" in answer.json()["detail"]


async def test_a_model_without_its_files_answers_no_more_even_if_it_was_loaded(
    settings: Settings, published: Published
) -> None:
    old, _ = published(), published()
    async with running(settings) as http:
        assert labels(await ask(http, old.id)) == ["7"]
        await http.delete(f"/models/{old.id}", params={"files_only": True})
        answer = await ask(http, old.id)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "were deleted" in answer.json()["detail"]


async def test_a_model_that_does_not_fit_beside_the_serving_one_is_refused(
    settings: Settings, published: Published
) -> None:
    old, _ = published(), published()
    async with running(settings.model_copy(update={"predict_memory_bytes": 1})) as http:
        answer = await ask(http, old.id)
        assert labels(await ask(http, "digits")) == ["7"]
    assert answer.status_code == 503
    assert "TUNESERVE_PREDICT_MEMORY_BYTES" in answer.json()["detail"]
