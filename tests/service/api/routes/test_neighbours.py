"""POST /predict?neighbours=: the nearest training images, through the whole service."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from core.artifacts.dataset_files import StoredImage
from core.artifacts.manifest import from_tensors
from core.artifacts.model_files import OOD_SCORE, TRAINING_IMAGES
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.db.tables import Model
from core.imaging import preparation
from core.imaging.decoding import decode
from core.inference import training_images
from core.inference.onnx_predictor import OnnxPredictor
from core.repositories import datasets
from core.settings import Settings
from tests.conftest import DIGIT_FILES, NOW, running
from tests.service.api.routes.test_predict import BAD, SEVEN, parts
from tests.support.fakes import DIGIT_PREPARATION, DIGITS, tiny_onnx

KEYS = "asker:predict:ts_a_long_secret_of_the_asker,reader:read+predict:ts_a_long_secret_of_a_reader"


def canonical() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The ten digits as the network sees them, which are their features too."""
    files = [preparation.prepare(decode(file.read_bytes(), 10**7), DIGIT_PREPARATION) for file in DIGIT_FILES]
    return np.stack([each.pixels for each in files])


def training() -> tuple[Any, Any, Any]:
    """Labels, numbers and features of ten training images, each other than it is sent."""
    pixels = canonical().reshape(10, -1).astype(np.float32)
    darker = pixels + np.random.default_rng(0).uniform(0, 20, pixels.shape).astype(np.float32)
    return np.arange(10), np.arange(101, 111), darker


def card(kept: int = 10) -> dict[str, Any]:
    return {"dataset": "digits/1", "neighbours": {"images": kept, "of": 50}}


def add_images(db: Database) -> None:
    """Upload the ten training images."""
    rows = [StoredImage("train", label, f"{label}.png", f"digest {label}", 101 + int(label)) for label in DIGITS]
    with db.write() as session:
        datasets.lock(session, "digits")
        datasets.add_version(session, "digits", [], rows, {"images": 10}, NOW)


@pytest.fixture
async def http(settings: Settings, db: Database, published: Callable[..., Model]) -> AsyncIterator[httpx.AsyncClient]:
    """The service, a data set and a model that was trained on it."""
    add_images(db)
    published(more={TRAINING_IMAGES: training_images.pack(*training())}, **card())
    async with running(settings) as client:
        yield client


async def test_a_prediction_shows_the_nearest_training_images_and_where_they_are_seen(
    http: httpx.AsyncClient,
) -> None:
    answer = (await http.post("/predict?neighbours=3", files=parts(SEVEN))).json()
    first, *others = answer["predictions"][0]["neighbours"]
    assert {name: first[name] for name in ("image", "label", "thumbnail")} == {
        "image": 108,
        "label": "7",
        "thumbnail": "/datasets/digits/images/108/thumbnail.png",
    }
    assert 0 < first["distance"] < 0.1 < others[0]["distance"] <= others[1]["distance"]
    assert len(others) == 2
    assert answer["neighbours_among"] == {"dataset": "digits/1", "images": 10, "of": 50}


async def test_neighbours_come_only_on_request_and_for_readable_images(http: httpx.AsyncClient) -> None:
    plain = (await http.post("/predict", files=parts(SEVEN))).json()
    assert "neighbours" not in plain["predictions"][0]
    assert "neighbours_among" not in plain
    several = (await http.post("/predict?neighbours=1", files=parts(BAD, SEVEN, DIGIT_FILES[4].read_bytes()))).json()
    bad, seven, four = several["predictions"]
    assert bad["error"]["code"] == "not_an_image"
    assert [each["neighbours"][0]["label"] for each in (seven, four)] == ["7", "4"]
    for wrong in ("21", "-1", "all"):
        refused = await http.post("/predict", params={"neighbours": wrong}, files=parts(SEVEN))
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "query/neighbours"), wrong


async def test_an_image_that_the_data_set_lost_has_no_link_but_its_class(http: httpx.AsyncClient, db: Database) -> None:
    with db.write() as session:
        datasets.lock(session, "digits")
        datasets.delete_versions(session, "digits", 1)
    (nearest,) = (await http.post("/predict?neighbours=1", files=parts(SEVEN))).json()["predictions"][0]["neighbours"]
    assert (nearest.keys(), nearest["label"]) == ({"label", "distance"}, "7")


async def test_who_may_only_predict_sees_no_training_image(
    settings: Settings, db: Database, published: Callable[..., Model]
) -> None:
    add_images(db)
    published(more={TRAINING_IMAGES: training_images.pack(*training())}, **card())
    seen = []
    async with running(Settings(data_dir=settings.data_dir, api_keys=SecretStr(KEYS))) as http:
        for key in ("ts_a_long_secret_of_the_asker", "ts_a_long_secret_of_a_reader"):
            headers = {"Authorization": f"Bearer {key}"}
            answer = await http.post("/predict?neighbours=1", files=parts(SEVEN), headers=headers)
            seen.append(answer.json()["predictions"][0]["neighbours"][0])
    assert [one["label"] for one in seen] == ["7", "7"]
    assert [one.keys() & {"image", "thumbnail"} for one in seen] == [set(), {"image", "thumbnail"}]


async def test_a_model_without_features_or_training_images_says_so(
    http: httpx.AsyncClient, published: Callable[..., Model], digit_weights: Any
) -> None:
    published(tiny_onnx(digit_weights, with_features=False), name="squeezed", network="squeezenet1_1")
    published(name="bare")
    for name, reason in (("squeezed", "has no features"), ("bare", "kept no features of its training images")):
        answer = await http.post(f"/predict/{name}?neighbours=1", files=parts(SEVEN))
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert reason in answer.json()["detail"]


def test_features_that_the_ood_score_holds_are_not_stored_again(
    store: LocalStore, published: Callable[..., Model]
) -> None:
    labels, numbers, features = training()
    scored = from_tensors({"images": training_images.directions(features), "threshold": np.ones((), np.float32)})
    alone = published(more={TRAINING_IMAGES: training_images.pack(labels, numbers, features)})
    shared = published(more={TRAINING_IMAGES: training_images.pack(labels, numbers, None), OOD_SCORE: scored})
    seen = OnnxPredictor(alone, store, 1).run(canonical(), with_features=True).features
    assert seen is not None
    found = [
        [[near.class_index for near in nearest] for nearest in training_images.find_nearest(store, model, seen, 3)]
        for model in (alone, shared)
    ]
    assert found[0] == found[1]
    assert [nearest[0] for nearest in found[0]] == list(range(10))
    size = store.fetch(f"{shared.key}/{TRAINING_IMAGES}").stat().st_size
    assert size < 1_000 < store.fetch(f"{alone.key}/{TRAINING_IMAGES}").stat().st_size
