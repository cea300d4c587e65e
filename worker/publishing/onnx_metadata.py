"""Metadata of an ONNX file.

With them it can be used without the service and its card.

Every value is a text; what is no single word or number is JSON. ``worker.publishing.onnx_export`` makes the graph.
"""

import json
from collections.abc import Mapping
from typing import Any

import onnx

from core.imaging.preparation import GREY_PADDING, PADDING, Preparation

FITS = {  # a word for programs, a sentence for people
    "crop": "the largest square in the middle, scaled to height and width",
    "pad": "scaled until it fits height and width, in the middle of the colour `padding`",
    "squash": "scaled to height and width, whatever its shape",
    "digit": "MNIST's form: light on black, upright, 20 pixels long, its centre of mass in the middle",
}


def with_metadata(graph: bytes, entries: Mapping[str, str]) -> bytes:
    """Add metadata to a serialised model.

    Two messages of protobuf in a row are one, with the fields of both.
    """
    added = onnx.ModelProto()
    onnx.helper.set_model_props(added, dict(entries))
    appended: bytes = added.SerializeToString()
    return graph + appended


def metadata(card: Mapping[str, Any], ood_threshold: float) -> dict[str, str]:
    """Gather the metadata that a user of the file needs.

    Above ``ood_threshold`` the model abstains, if it has that output.
    """
    preparation = Preparation.model_validate(card["preparation"])
    entries = {
        "model_id": card["id"],
        "network": card["network"],
        "dataset": card["dataset"],
        "classes": json.dumps(card["classes"]),
        "input": json.dumps(_input(preparation)),
        "inside_the_graph": json.dumps(_inside(preparation)),
        "probabilities": "softmax(logits / temperature)",
        "temperature": str(card["calibration"]["temperature"]),
        "ood_threshold": str(ood_threshold),
        "weights": card["recipe"]["weights"],
    }
    return entries | ({"weights_license": known} if (known := card["weights_license"]) else {})


def _input(preparation: Preparation) -> dict[str, Any]:
    """Describe the images that a caller gives to the graph."""
    fit = "digit" if preparation.style == "digit" else preparation.image_fit or "squash"
    padding = {"padding": [GREY_PADDING] if preparation.channels == 1 else PADDING} if fit == "pad" else {}
    return {
        "name": "images",
        "layout": "NHWC",
        "dtype": "uint8",
        "range": [0, 255],
        "colour": "grey" if preparation.channels == 1 else "RGB",
        "height": preparation.height,
        "width": preparation.width,
        "fit": fit,
        "how": FITS[fit],
        "resampling": preparation.resampling,
    } | padding


def _inside(preparation: Preparation) -> dict[str, Any]:
    """Describe what the graph itself does to them: nobody has to."""
    return {
        "range": [0, 1],
        "image_size": preparation.image_size,
        "mean": preparation.mean,
        "std": preparation.std,
    }
