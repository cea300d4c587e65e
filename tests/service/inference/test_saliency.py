"""service.inference.saliency: the map finds what an answer rests on.

It only asks the model.
"""

import base64
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from core.db.tables import Model
from core.imaging.preparation import Pixels
from core.settings import Settings
from service.inference import saliency as explain
from service.inference.saliency import CHUNK, COPIES, Heat, Weights, random_masks, saliency_map
from tests.conftest import DIGIT_FILES, running

SEVEN = DIGIT_FILES[7].read_bytes()


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(1, "aside") as executor:
        yield executor


@pytest.mark.parametrize(("height", "width"), [(28, 28), (224, 224), (10, 37)])
def test_masks_are_of_the_images_size_and_show_half_of_it(height: int, width: int) -> None:
    masks = random_masks(height, width, 0)
    assert masks.shape == (CHUNK, height, width)
    assert (float(masks.min()), float(masks.max())) == (0, 1)
    assert masks.mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(masks, random_masks(height, width, 0))
    assert (masks != random_masks(height, width, 1)).any()


def heat_of(score: Callable[[Weights], Weights]) -> Weights:
    heat = Heat()
    for chunk in range(COPIES // CHUNK):
        masks = random_masks(28, 28, chunk)
        heat.add(masks, score(masks))
    return heat.map()


def test_the_place_that_the_answer_depends_on_is_the_hottest() -> None:
    heat = heat_of(lambda masks: masks[:, 5, 20])
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert abs(int(row) - 5) <= 2
    assert abs(int(column) - 20) <= 2
    assert (float(heat.min()), float(heat.max())) == (0, 1)


def test_an_answer_that_depends_on_nothing_has_a_cold_map() -> None:
    assert not heat_of(lambda masks: np.full(len(masks), 0.7, np.float32)).any()


async def test_the_model_is_asked_in_pieces_about_its_own_kind_of_image(threads: Executor) -> None:
    asked: list[int] = []

    async def ask(copies: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        asked.append(len(copies))
        assert all(copy.shape == (28, 30, 3) and copy.dtype == np.uint8 for copy in copies)
        return np.stack([[copy[10, 10].mean() / 255, 0] for copy in copies]).astype(np.float32)

    image = np.zeros((28, 30, 3), np.uint8)
    image[8:13, 8:13] = 255
    picture = Image.open(io.BytesIO(base64.b64decode(await saliency_map(image, 0, ask, threads))))
    assert asked == [CHUNK] * (COPIES // CHUNK)
    assert picture.size == (240, 224)
    light = np.asarray(picture.convert("L"), float)
    assert light[70:100, 70:100].mean() > 2 * light[150:, 150:].mean()


class Watched(np.ndarray):
    """An array that records the threads it is used in.

    Arrays that are made of it do so too.
    """

    threads: set[str]

    def __array_finalize__(self, source: object) -> None:
        self.threads = getattr(source, "threads", set())
        self.threads.add(threading.current_thread().name)


async def test_nothing_is_computed_where_all_requests_are_answered(
    threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(copies: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        return np.zeros((len(copies), 1), np.float32)

    image, masks = np.zeros((28, 28, 1), np.uint8).view(Watched), random_masks(28, 28, 0).view(Watched)
    image.threads.clear()
    masks.threads.clear()
    monkeypatch.setattr(explain, "random_masks", lambda *_: masks)
    await saliency_map(image, 0, ask, threads)
    assert image.threads == masks.threads == {"aside_0"}


async def test_predict_explains_when_asked(published: Callable[..., Model], settings: Settings) -> None:
    published()
    async with running(settings) as http:
        plain, explained = [
            (await http.post(f"/predict?explain={explain}", files={"file": SEVEN})).json()["predictions"][0]
            for explain in ("false", "true")
        ]
        many = await http.post("/predict?explain=true", files=[("file", SEVEN)] * 5)
    assert "saliency_map" not in plain
    assert Image.open(io.BytesIO(base64.b64decode(explained.pop("saliency_map")))).format == "PNG"
    assert explained == plain
    assert (many.status_code, many.json()["detail"]) == (422, "5 images to explain; at most 4.")
