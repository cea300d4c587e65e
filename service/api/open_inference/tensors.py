"""Map tensors to images, probabilities, labels and ood_score.

Images go in; the others come out.
"""

from typing import Any

from core.errors import InvalidInput
from core.imaging import preparation as images
from core.inference.onnx_predictor import Predictor
from service.api.open_inference.messages import InferRequest, Numbers
from service.inference.request_images import EncodedImage, from_bytes

IMAGES, PROBABILITIES, LABELS, OOD_SCORE = "images", "probabilities", "labels", "ood_score"
CHANNELS = (1, 3)


def sources_of(request: InferRequest, tensors: list[Numbers | list[bytes]]) -> list[EncodedImage]:
    """Return the undecoded images of the request's one input.

    They come as numbers n x h x w [x c] or n x c x h x w, or as files.
    """
    if len(tensors) != 1:
        raise InvalidInput(f"There is one input, {IMAGES}; {len(tensors)} were sent.")
    if request.inputs[0].name != IMAGES:
        raise InvalidInput(f"There is no input {request.inputs[0].name}; there is one, {IMAGES}.")
    tensor = tensors[0]
    if isinstance(tensor, list):
        return [from_bytes(data) for data in tensor]
    return [_of_array(array) for array in _channels_last(tensor)]


def _channels_last(tensor: Numbers) -> Numbers:
    if tensor.ndim == 4 and tensor.shape[3] not in CHANNELS and tensor.shape[1] in CHANNELS:
        tensor = tensor.transpose(0, 2, 3, 1)
    if tensor.ndim == 3 or (tensor.ndim == 4 and tensor.shape[3] in CHANNELS):
        return tensor
    raise InvalidInput(
        f"{IMAGES}: the shape is [n, h, w], [n, h, w, 1 or 3] or [n, 1 or 3, h, w], not {list(tensor.shape)}; "
        "files are BYTES of shape [n]."
    )


def _of_array(array: Numbers) -> EncodedImage:
    return EncodedImage(lambda: images.from_array(array))


def outputs_of(predictor: Predictor) -> list[str]:
    """List the names of a model's outputs.

    A model without a fitted ood_score has no such output.
    """
    return [PROBABILITIES, LABELS, *([OOD_SCORE] if predictor.tells_ood_score else [])]


def describe(predictor: Predictor) -> dict[str, Any]:
    """Describe a model's inputs and outputs for its metadata.

    Images of any other size are accepted too.
    """
    preparation = predictor.preparation
    shape = [-1, preparation.height, preparation.width, preparation.channels]
    outputs = {
        PROBABILITIES: {"datatype": "FP32", "shape": [-1, len(predictor.classes)]},
        LABELS: {"datatype": "BYTES", "shape": [-1]},
        OOD_SCORE: {"datatype": "FP32", "shape": [-1]},
    }
    return {
        "inputs": [{"name": IMAGES, "datatype": "UINT8", "shape": shape}],
        "outputs": [{"name": name, **outputs[name]} for name in outputs_of(predictor)],
    }
