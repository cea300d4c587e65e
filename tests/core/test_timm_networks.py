"""core.networks.timm_table: the table of timm's networks, held against the installed timm.

``python -m tests.core.test_timm_networks`` writes it anew.
"""

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest
import timm
import torch
from timm.models import PretrainedCfg, get_pretrained_cfg, model_entrypoint
from torch import nn
from torch.overrides import TorchFunctionMode

from core.inference.network import build, take_head
from core.networks import MAX_WEIGHT_BYTES, TIMM, Network
from core.networks.lookup import refusal, search
from core.networks.timm_table import COLOURS, NONE, TABLE, timm_networks
from worker.training import freezing

HEADER = "# written by python -m tests.core.test_timm_networks: name, family, parameters, photo, smallest side, "
HEADER += "multiple, optimizer, colours, resampling, licence, stages\n"
# timm's modules whose smallest network was frozen, split and exported
CONVOLUTIONS = ("convnext", "efficientnet", "mobilenetv3", "regnet", "resnet")
OF_PATCHES = ("deit", "vision_transformer")
FAMILIES = (*CONVOLUTIONS, *OF_PATCHES)
WRITES = ("normal_", "uniform_", "erfinv_", "mul_", "add_", "clamp_", "fill_", "zero_", "copy_")
SMALLEST, SMALLEST_PATCHES = 32, 4  # pixels and patches a side
SAMPLE = 8  # of the networks that are left out
MAX_PARAMETERS = MAX_WEIGHT_BYTES // 4


def published() -> Iterator[tuple[str, str, PretrainedCfg]]:
    """Yield the name, family and published facts of each network that could be in the table.

    Their files are safetensors at Hugging Face under their own names, and they take square images.
    """
    for name in timm.list_models(pretrained=True):
        facts = get_pretrained_cfg(name)
        assert facts is not None
        family = model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2]
        colours = (facts.mean, facts.std)
        square = facts.input_size[0] == 3 and facts.input_size[1] == facts.input_size[2]
        if family in FAMILIES and square and facts.hf_hub_id == TIMM + name and colours in COLOURS.values():
            yield name, family, facts


class WithoutValues(TorchFunctionMode):
    """Context in which nothing is written into tensors, which takes most of the time without a device too."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if args and getattr(func, "__name__", "") in WRITES else func(*args, **(kwargs or {}))


def made(name: str) -> nn.Module:
    """Build a network of ImageNet's 1,000 classes without weights."""
    with torch.device("meta"), WithoutValues():
        network: nn.Module = timm.create_model(name, num_classes=1000)
    return network


def can_be_trained(network: nn.Module) -> bool:
    """Check whether its last layer is linear, and the only one that gives logits, and its weights fit a file."""
    size, last = parameters(network), take_head(network)
    single = last is not None and last.out_features == 1000 and not hasattr(network, "head_dist")
    return single and size < MAX_PARAMETERS


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def own_facts(family: str, network: nn.Module) -> str:
    """Return the columns that depend on the network alone, and a placeholder for those of its weights."""
    layers = [*network.modules()]
    normalised, attends = (any(isinstance(layer, kind) for layer in layers) for kind in (nn.BatchNorm2d, nn.LayerNorm))
    optimizer = "sgd" if normalised and not attends else "adamw"
    smallest, multiple = SMALLEST, 1
    if family in OF_PATCHES:
        (multiple, *_) = network.patch_embed.patch_size  # type: ignore[union-attr,misc]
        smallest = SMALLEST_PATCHES * multiple
    stages = " ".join(ranges(freezing._stages(network)))
    return f"{family} {parameters(network)} {{photo}} {smallest} {multiple} {optimizer} {{weights}}\t{stages}"


def ranges(stages: list[str]) -> Iterator[str]:
    """Shorten blocks.0 blocks.1 blocks.2 to blocks.0-2."""
    for container, group in groupby(stages, lambda stage: re.sub(r"\d+$", "", stage) if "." in stage else None):
        names = [*group]
        if container is None or names != [f"{container}{number}" for number in range(len(names))]:
            yield from names
        else:
            yield f"{container}0-{len(names) - 1}"


def row(name: str, facts: PretrainedCfg, own: str) -> str:
    colours = next(word for word, values in COLOURS.items() if values == (facts.mean, facts.std))
    licence = NONE if facts.license in (None, "unknown") else facts.license
    return f"{name} " + own.format(photo=facts.input_size[-1], weights=f"{colours} {facts.interpolation} {licence}")


def architecture(name: str) -> str:
    return name.removeprefix(TIMM).partition(".")[0]


def smallest(family: str) -> Network:
    """Return the family's network with the fewest weights."""
    return min((one for one in timm_networks().values() if one.family == family), key=lambda one: one.parameters)


def test_the_table_has_all_published_weights_of_its_networks_as_timm_describes_them() -> None:
    rows = {line.partition(" ")[0]: line for line in TABLE.read_text().splitlines()[1:]}
    ours = {architecture(name) for name in rows}
    theirs = {name: facts for name, _, facts in published() if architecture(name) in ours}
    assert rows.keys() == theirs.keys()
    for name, facts in theirs.items():
        values = rows[name].partition("\t")[0].split()
        own = " ".join((*values[1:3], "{photo}", *values[4:7], "{weights}"))
        assert row(name, facts, own) == " ".join(values), name
    assert f"{HEADER}" == TABLE.read_text().splitlines(keepends=True)[0]


def test_what_is_left_out_cannot_be_trained() -> None:
    ours = {architecture(name) for name in timm_networks()}
    others = {architecture(name): name for name, _, _ in published() if architecture(name) not in ours}
    small = [name for name in others.values() if not any(word in name for word in ("_1b", "_3b", "_7b", "gi", "huge"))]
    assert small
    assert [name for name in small[:SAMPLE] if can_be_trained(made(name))] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_as_the_table_says(family: str) -> None:
    network = smallest(family)
    (line,) = (line for line in TABLE.read_text().splitlines() if f"{TIMM}{line.partition(' ')[0]}" == network.name)
    theirs = made(network.name.removeprefix(TIMM))
    facts = get_pretrained_cfg(network.name.removeprefix(TIMM))
    assert facts is not None
    assert row(network.name.removeprefix(TIMM), facts, own_facts(family, theirs)) == line
    assert list(network.stages) == freezing._stages(theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_takes_its_smallest_images_and_splits_before_its_head(family: str) -> None:
    network = smallest(family)
    for side in (network.traits.smallest, network.traits.smallest + network.traits.multiple):
        with torch.device("meta"):
            built = build(network.name, 3, side)
            halves = freezing.split_network(built, freezing.freeze(built, "backbone"))
            (features,) = halves.frozen(torch.zeros(2, 3, side, side))
            assert (features.ndim, halves.rest(features).shape) == (2, (2, 3))
    trained = {name.rpartition(".")[0] for name, each in built.named_parameters() if each.requires_grad}
    assert len(trained) == 1


def test_a_name_that_is_nearly_right_is_corrected() -> None:
    assert refusal("timm/resnet18.a1_in1k") is None
    assert "timm/resnet18.a1_in1k" in str(refusal("timm/resnet18"))
    assert "timm/vit_small_patch14_dinov2.lvd142m" in str(refusal("timm/vit_smal_patch14_dinov2.lvd142m"))
    assert str(refusal("timm/xyz")).endswith("GET /networks?search=timm/ lists them")


def test_a_search_finds_names_of_either_kind() -> None:
    found = [network.name for network in search("ResNet18")]
    assert found[0] == "resnet18"
    assert "timm/resnet18.a1_in1k" in found


def write() -> None:
    rows, own = [HEADER], {}
    for name, family, facts in published():
        if architecture(name) not in own:
            network = made(name)
            own[architecture(name)] = own_facts(family, network) if can_be_trained(network) else None
            sys.stderr.write(f"{name}\n")
        if (known := own[architecture(name)]) is not None:
            rows.append(f"{row(name, facts, known)}\n")
    TABLE.write_text("".join(rows))


if __name__ == "__main__":
    write()
