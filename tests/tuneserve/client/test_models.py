"""tuneserve.client.models and predictions: a model is asked, saved and looked at."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.db.tables import Model
from core.settings import Settings
from tests.conftest import DIGIT_FILES
from tuneserve.client import Client, ServiceError, frames
from tuneserve.client.images import inputs, parted

Published = Callable[..., Model]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"heartbeat_interval_s": 3600.0})


@pytest.fixture
def client(published: Published, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of a service with one model."""
    matrix = (np.eye(10, dtype=int) * 9).tolist()
    published(more={"report.json": json.dumps({"worst": []}).encode()}, confusion_matrix=matrix)
    with Client(request.getfixturevalue("live")) as connected:
        yield connected


def test_files_folders_patterns_bytes_arrays_and_pictures_are_answered_alike(client: Client, tmp_path: Path) -> None:
    seven = DIGIT_FILES[7]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "SEVEN.PNG").write_bytes(seven.read_bytes())
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    picture = Image.open(seven).convert("L")
    array = np.asarray(picture)
    colour = np.stack([array] * 3, axis=2)
    given = (seven, str(seven), tmp_path, f"{tmp_path}/**/*.PNG", seven.read_bytes(), array, array / 255, colour)
    answers = client.model("digits").predict(*given, picture, [seven, array], np.stack([array, array])[..., None])
    assert [one.label for one in answers] == ["7"] * 13
    assert answers.model.name == "digits"
    assert [one.file for one in answers][2:5] == [f"{tmp_path}/deep/SEVEN.PNG"] * 2 + ["image 4"]
    assert [one.file for one in answers][-2:] == ["image 10.0", "image 10.1"]


def test_an_array_is_the_picture_that_it_was() -> None:
    random = np.random.default_rng(1)
    for shape in ((5, 7), (5, 7, 3), (5, 7, 1)):
        array = random.integers(0, 256, shape, np.uint8)
        for given in (array, array.astype(np.int64), array / 255.0):
            ((one),) = inputs([given])
            assert (np.asarray(Image.open(io.BytesIO(one.read()))) == array.squeeze()).all()


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((2, 2, 4), np.uint8), r"not \[2, 2, 4\]"),
        (np.zeros((0, 2), np.uint8), "shape"),
        (np.full((2, 2), np.nan), "0..255"),
        (np.full((2, 2), 256), "0..255"),
        (3, "image 0 is of int"),
    ],
)
def test_what_is_no_image_is_refused_before_anything_is_sent(image: object, told: str) -> None:
    with pytest.raises((ValueError, TypeError), match=told):
        list(inputs([image]))


def test_nothing_where_images_should_be_is_told(tmp_path: Path, client: Client) -> None:
    with pytest.raises(FileNotFoundError, match="holds no image"):
        list(inputs([tmp_path]))
    with pytest.raises(FileNotFoundError, match="matches no file"):
        list(inputs([f"{tmp_path}/*.png"]))
    with pytest.raises(ServiceError, match="give at least one image"):
        client.predict()


def test_urls_go_in_requests_of_their_own_of_at_most_eight() -> None:
    urls = [f"https://there/{number}.png" for number in range(9)]
    sizes = [len(part) for part in parted(inputs([*urls, DIGIT_FILES[1], *[DIGIT_FILES[2]] * 100, urls[0]]))]
    assert sizes == [8, 1, 100, 1, 1]


def test_a_service_that_fetches_no_urls_says_so(client: Client) -> None:
    with pytest.raises(ServiceError, match="TUNESERVE_FETCH_URLS"):
        client.predict("http://127.0.0.1:1/seven.png")


def test_predictions_are_a_frame_and_a_table(client: Client, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    answers = client.predict(DIGIT_FILES[7], DIGIT_FILES[2], progress=lambda done, of: steps.append((done, of)))
    frame = answers.to_frame()
    assert list(frame.columns) == ["file", "label", "probability", "ood_score", "abstained"]
    assert list(frame.label) == ["7", "2"]
    assert steps == [(2, 2)]
    (tmp_path / "<b>.png").write_bytes(b"none")
    mixed = client.predict(DIGIT_FILES[7], tmp_path / "<b>.png")
    assert list(mixed.to_frame().error.isna()) == [True, False]
    assert "&lt;b&gt;.png" in mixed._repr_html_()


def test_a_frame_without_pandas_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'tuneserve\[pandas\]'"):
        frames.of_rows([])


def test_a_model_is_saved_in_the_format_of_the_suffix(client: Client, tmp_path: Path) -> None:
    model = client.model("digits")
    path = model.download(tmp_path / "digits.onnx")
    assert path.stat().st_size == model.files["model.onnx"]["size_bytes"]
    assert model.download(f"{tmp_path}/weights", format="safetensors").exists()
    with pytest.raises(ValueError, match=r"name it \*\.onnx, \*\.safetensors, \*\.pt2"):
        model.download(tmp_path / "digits.bin")
    with pytest.raises(ServiceError):
        client.download("none", tmp_path / "none.onnx", "onnx")
    assert sorted({file.name for file in tmp_path.iterdir()} - {"data"}) == ["digits.onnx", "weights"]


def test_a_model_has_a_report_a_matrix_and_an_alias(client: Client) -> None:
    model = client.model("digits")
    assert model.report().worst == []
    frame = model.confusion_frame()
    assert frame.shape == (len(model.classes),) * 2
    assert (frame.index.name, frame.columns.name) == ("actual", "predicted")
    assert model.promote("mine").version == 1
    drawn = model._repr_html_()
    assert "digits/1" in drawn
    assert drawn.count("<tr>") == 1 + len(model.classes)
