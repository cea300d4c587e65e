"""A photo's canonical image is the same in predictions and training."""

import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from core.db.tables import Model
from core.imaging.preparation import Fit, Pixels, Preparation, fit_photo
from core.settings import Settings
from tests.conftest import running
from worker.data.datasets import load
from worker.data.decode_workers import Decoders
from worker.data.photo_files import PhotoForm

SHAPE = PhotoForm().shape
PHOTO = Preparation(
    style="photo", image_fit="crop", height=224, width=224, channels=3, image_size=224, mean=(0.5,) * 3, std=(0.5,) * 3
)
RED, GREEN, BLUE, YELLOW, GREY = (250, 10, 20), (0, 200, 30), (10, 20, 240), (240, 220, 0), (90, 90, 90)


def golden() -> tuple[Image.Image, Pixels]:
    """Make a photo of 424 x 224 and its middle square.

    The square has four colours, none of them in the place of another.
    """
    square = np.zeros(SHAPE, np.uint8)
    square[:100, :60], square[:100, 60:] = RED, GREEN
    square[100:, :150], square[100:, 150:] = BLUE, YELLOW
    photo = np.full((224, 424, 3), GREY, np.uint8)
    photo[:, 100:324] = square
    return Image.fromarray(photo), square


def mean_colour_onnx() -> bytes:
    """A served graph of canonical photos: their mean colour times weights."""
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values", "axes"], ["colours"], keepdims=0),
        helper.make_node("MatMul", ["colours", "weights"], ["logits"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *SHAPE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])
    constants = [
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        numpy_helper.from_array(np.eye(3, 10, dtype=np.float32), "weights"),
    ]
    graph = helper.make_graph(nodes, "colours", [images], [logits], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def test_the_middle_square_of_a_photo_is_cut_out_in_its_own_colours() -> None:
    photo, square = golden()
    np.testing.assert_array_equal(fit_photo(photo), square)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
async def test_a_photo_is_the_same_in_an_answer_and_in_a_training(
    settings: Settings, published: Callable[..., Model], fit: Fit
) -> None:
    photo, _ = golden()
    photo.save(file := io.BytesIO(), "PNG")
    square = fit_photo(photo, fit=fit)
    published(mean_colour_onnx(), preparation=PHOTO.model_copy(update={"image_fit": fit}).model_dump(mode="json"))
    async with running(settings) as http:
        answer = await http.post("/predict?include_input=true", files={"file": ("a.png", file.getvalue())})
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(base64.b64decode(answer.json()["predictions"][0]["model_input"]))) as seen:
        np.testing.assert_array_equal(np.asarray(seen), square)

    for label in ("cat", "dog"):
        for number in range(3):
            path = settings.resolved_datasets_dir / "pets" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.getvalue())
    form = PhotoForm(fit=fit)
    learnt = load("pets", settings, lambda _sizes, _style: form)
    assert isinstance(learnt.train_images, np.ndarray)
    for image in learnt.train_images:
        np.testing.assert_array_equal(image, square)
    streamed = np.empty((1, *SHAPE), np.uint8)
    with Decoders(1, form, settings.max_image_pixels) as decoders:
        decoders.submit([str(path)], streamed).result(timeout=60)
    np.testing.assert_array_equal(streamed[0], square)
