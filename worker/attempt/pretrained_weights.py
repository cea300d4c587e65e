"""Find a network's initial weights.

These are the published ones, those of a model of the registry, or none.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from core.artifacts import manifest, weight_files
from core.artifacts.model_files import WEIGHTS
from core.artifacts.store import ArtifactStore
from core.db.database import Database
from core.errors import Damaged, NotFound, WeightsUnavailable
from core.imaging.preparation import Preparation
from core.inference.network import from_arrays, load_matching
from core.networks import EFFICIENTNET_LITE0, Colour, Network, lookup
from core.recipes.recipe import UNTRAINED
from core.repositories.models import find as find_model
from core.settings import Settings
from worker.attempt import embedded_weights
from worker.data.download import fetch

State = Mapping[str, Tensor]
# torchvision's densenet files still name a layer's parts norm.1, conv.2, ... (see its models/densenet.py)
OLD_DENSENET_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")
HALF = (0.5, 0.5, 0.5)
HUGGING_FACE = "https://huggingface.co"


def find_state(name: str, weights: str, settings: Settings, db: Database, store: ArtifactStore) -> State | None:
    """Return the state dict that the recipe's ``weights`` names.

    None for random weights. WeightsUnavailable says what to do.
    """
    if weights == "random":
        return None
    return _imagenet(name, settings) if weights == "imagenet" else _from_model(weights, db, store)


def statistics(name: str, weights: str, db: Database) -> tuple[Colour, Colour] | None:
    """Return the channels' mean and standard deviation that weights expect.

    Those of values in 0..1; None for random weights. A model of the registry expects those it was trained with,
    whatever data it is fine-tuned on.
    """
    if weights == "random":
        return None
    if weights == "imagenet":
        return _imagenet_statistics(name)
    with db.read() as session:
        preparation = Preparation.model_validate(find_model(session, weights).card["preparation"])
    return preparation.mean, preparation.std


def classes(weights: str, db: Database) -> tuple[str, ...]:
    """Return the classes of a model of the registry.

    Empty for other weights, whose heads are replaced.
    """
    if weights in UNTRAINED:
        return ()
    with db.read() as session:
        return tuple(find_model(session, weights).card["classes"])


def license_of(name: str, weights: str, settings: Settings, db: Database) -> str | None:
    """Return the licence that is stated for the weights, or None.

    If a model was trained from others, it is the licence of those that it began as. What a file that the settings name
    may be used for is not known.
    """
    network = lookup.get(name)
    if weights == "imagenet" and (network.weights_file is None or settings.weights_file is None):
        return network.license
    if weights in UNTRAINED:
        return None
    with db.read() as session:
        began: str | None = find_model(session, weights).card["weights_license"]
    return began


def _imagenet_statistics(name: str) -> tuple[Colour, Colour]:
    if colours := lookup.get(name).colours:
        return colours
    if name in ("googlenet", "inception_v3"):  # what torchvision's ``transform_input`` does
        return HALF, HALF
    published = models.get_model_weights(name)["DEFAULT"].transforms()
    return tuple(published.mean), tuple(published.std)


def fill(network: nn.Module, name: str, state: State) -> None:
    """Load a state dict into the network.

    The head stays random if the number of classes differs.
    """
    own = network.state_dict().keys()
    state = {OLD_DENSENET_NAME.sub(r"\1\2", key): tensor for key, tensor in state.items()}
    hint = (
        f"Name a state dict of {_owner(name)} {name} in TUNESERVE_WEIGHTS_FILE, or set "
        f'"network": "{EFFICIENTNET_LITE0}", whose weights are installed.'
    )
    if len(state) > len(own) * 5 // 4:  # a deeper network of its family; googlenet has a few side heads more
        raise WeightsUnavailable(f"These are not the weights of {name}: {len(state)} tensors, not {len(own)}.", hint)
    try:
        missing = load_matching(network, state)
    except ValueError as error:  # a transformer's position table of another size
        raise WeightsUnavailable(f"These are not the weights of {name}: {error}", hint) from error
    if len(missing) > len(own) // 4:
        raise WeightsUnavailable(
            f"These are not the weights of {name}: "
            f"{len(missing)} of its {len(own)} tensors are missing, {missing[0]} first.",
            hint,
        )


def _owner(name: str) -> str:
    return "timm's" if lookup.get(name).is_timms else "torchvision's"


def _imagenet(name: str, settings: Settings) -> State:
    """Read the embedded weights, or those in a file.

    The file is downloaded first if there is none.
    """
    network = lookup.get(name)
    if network.weights_file is None:
        return embedded_weights.load()
    return _read(weight_files.find(network, settings) or _download(network, settings))


def _download(network: Network, settings: Settings) -> Path:
    folder, (file, published, digest) = settings.resolved_weights_dir, _published(network)
    if (folder / file).is_file():  # another version's of torchvision
        return folder / file
    url = f"{settings.weights_mirror.rstrip('/')}/{file}" if settings.weights_mirror else published
    try:
        fetch([url], folder / file, "sha256", digest, settings)
    except URLError as error:
        raise WeightsUnavailable(
            f"The pre-trained weights of {network.name} are not in {folder} and could not be downloaded: "
            f"{error.reason}.",
            hint=f'Set "network": "{EFFICIENTNET_LITE0}", whose weights are installed, or "weights": "random"; or put '
            f"{' or '.join(network.weights_files)} into {folder}, or name a file in TUNESERVE_WEIGHTS_FILE.",
        ) from error
    return folder / file


def _published(network: Network) -> tuple[str, str, str]:
    """Return the name of the published file, its address and the start of its sha256.

    timm's files at Hugging Face are safetensors, and their digests are not known here.
    """
    if network.is_timms:
        return f"{network.weights_files[0]}", f"{HUGGING_FACE}/{network.name}/resolve/main/model.safetensors", ""
    address = str(models.get_model_weights(network.name)["DEFAULT"].url)
    file = address.rsplit("/", 1)[1]
    digest = re.search(r"-([0-9a-f]{8,})\.", file)  # torchvision's names carry it
    return file, address, digest[1] if digest else ""


def _from_model(model_id: str, db: Database, store: ArtifactStore) -> State:
    try:
        with db.read() as session:
            key = find_model(session, model_id).key
        return from_arrays(manifest.read_tensors(store, key, WEIGHTS))
    except (NotFound, Damaged) as error:
        raise WeightsUnavailable(f"The weights of {model_id} cannot be used: {error}") from error


def _read(path: Path) -> State:
    """Read a state dict from safetensors or torch's own format.

    Of torch's format nothing but tensors is loaded.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, SafetensorError, UnpicklingError) as error:
        raise WeightsUnavailable(f"{path} cannot be read as a state dict: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsUnavailable(f"{path} is not a state dict.")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
