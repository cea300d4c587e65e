"""worker.publishing.onnx_metadata: an ONNX file alone says how to use it.

Neither our code nor the card is needed.
"""

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image, ImageOps

from core.imaging.decoding import decode
from core.imaging.preparation import Preparation, prepare
from core.inference.network import ServingGraph, build
from tests.support.fakes import model_card
from tests.support.setfiles import photo
from worker.publishing.onnx_export import export
from worker.publishing.onnx_metadata import metadata, with_metadata

CLASSES = ["猫", 'a "dog", wet', "bird"]
PHOTO = Preparation(
    style="photo",
    image_fit="crop",
    height=48,
    width=48,
    channels=3,
    image_size=32,
    mean=(0.4, 0.5, 0.6),
    std=(0.3, 0.2, 0.1),
)
PADDED = PHOTO.model_copy(update={"image_fit": "pad", "width": 40})
GREY = Preparation(
    style="plain", height=20, width=30, channels=1, image_size=32, mean=(0.2, 0.2, 0.2), std=(0.3, 0.3, 0.3)
)


def network_of(preparation: Preparation) -> ServingGraph:
    torch.manual_seed(0)
    return ServingGraph(preparation, build("squeezenet1_1", len(CLASSES), preparation.image_size).eval()).eval()


def file_of(preparation: Preparation) -> bytes:
    """The file as it is published."""
    card = model_card(classes=CLASSES, preparation=preparation.model_dump(mode="json"), id="model_7")
    card["recipe"]["weights"] = "random"
    card["calibration"]["temperature"] = 1.75
    sample = torch.zeros(2, preparation.height, preparation.width, preparation.channels, dtype=torch.uint8)
    return with_metadata(export(network_of(preparation).network, preparation, sample).onnx, metadata(card, 1.0))


def follow(file: bytes, pictures: list[bytes]) -> npt.NDArray[np.float32]:
    """Probabilities of pictures, by what the file says alone."""
    said = {entry.key: entry.value for entry in onnx.load_from_string(file).metadata_props}
    wanted = json.loads(said["input"])
    assert (wanted["layout"], wanted["dtype"], wanted["range"], wanted["resampling"]) == (
        *("NHWC", "uint8", [0, 255], "bilinear"),
    )
    mode, size = {"RGB": "RGB", "grey": "L"}[wanted["colour"]], (wanted["width"], wanted["height"])
    images = []
    for data in pictures:
        image = Image.open(io.BytesIO(data)).convert(mode)
        bilinear = Image.Resampling.BILINEAR
        if wanted["fit"] == "crop":
            fitted = ImageOps.fit(image, size, bilinear)
        elif wanted["fit"] == "pad":
            fitted = ImageOps.pad(image, size, bilinear, tuple(wanted["padding"]))
        else:
            fitted = image.resize(size, bilinear)
        images.append(np.asarray(fitted).reshape(wanted["height"], wanted["width"], -1))
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    logits = np.asarray(session.run(["logits"], {wanted["name"]: np.stack(images)})[0])
    assert said["probabilities"] == "softmax(logits / temperature)"
    exponentials = np.exp(logits / float(said["temperature"]))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True), np.float32)


@pytest.mark.parametrize("preparation", [PHOTO, PADDED, GREY])
def test_a_user_who_follows_the_file_alone_gets_the_services_answers(preparation: Preparation) -> None:
    file, graph = file_of(preparation), network_of(preparation)
    onnx.checker.check_model(onnx.load_from_string(file))
    pictures = [photo(seed) for seed in range(3)]
    prepared = np.stack([prepare(decode(data, 10**6), preparation).pixels for data in pictures])
    with torch.inference_mode():
        ours = (graph.look(torch.from_numpy(prepared))[0] / 1.75).softmax(1).numpy()
    for count in (1, 3):
        np.testing.assert_allclose(follow(file, pictures[:count]), ours[:count], atol=1e-4)


def test_the_file_names_classes_model_and_what_it_does_itself() -> None:
    said: dict[str, Any] = {entry.key: entry.value for entry in onnx.load_from_string(file_of(PHOTO)).metadata_props}
    assert json.loads(said["classes"]) == CLASSES
    assert json.loads(said["inside_the_graph"]) == {
        "range": [0, 1],
        "image_size": 32,
        "mean": [0.4, 0.5, 0.6],
        "std": [0.3, 0.2, 0.1],
    }
    assert (said["model_id"], said["weights"], said["ood_threshold"]) == ("model_7", "random", "1.0")


def test_its_batch_axis_is_called_batch_at_both_ends() -> None:
    session = onnxruntime.InferenceSession(file_of(GREY), providers=["CPUExecutionProvider"])
    assert [end.shape for end in session.get_inputs()] == [["batch", 20, 30, 1]]
    assert [end.shape for end in session.get_outputs()] == [["batch", 3]]


def test_the_licence_of_weights_is_told_if_it_is_known() -> None:
    card = model_card(id="model_7", weights_license="https://example.org/license")
    card["recipe"]["weights"] = "imagenet"
    assert metadata(card, 1.0)["weights_license"] == "https://example.org/license"
    assert "weights_license" not in metadata(card | {"weights_license": None}, 1.0)
