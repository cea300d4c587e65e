"""Networks of timm with published weights, without timm.

Their table is a file that ``python -m tests.core.test_timm_networks`` writes, for the families that are tried there.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from core.networks import TIMM, Colour, Network, Optimizer, Resampling, Traits

TABLE = Path(__file__).with_name("timm_networks.txt")
COLOURS: Mapping[str, tuple[Colour, Colour]] = MappingProxyType(  # mean and standard deviation of each channel
    {
        "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    }
)
NONE = "-"  # no licence is stated
_RANGE = re.compile(r"(.*\.)0-(\d+)")  # stages.0-3: four stages


@cache
def timm_networks() -> Mapping[str, Network]:
    """Read the table; its keys are the networks' names in a recipe."""
    rows = (line for line in TABLE.read_text().splitlines() if not line.startswith("#"))
    return MappingProxyType({network.name: network for network in map(_network, rows)})


def _network(row: str) -> Network:
    values, stages = row.split("\t")
    name, family, parameters, photo, smallest, multiple, optimizer, colours, resampling, licence = values.split()
    traits = Traits(smallest=int(smallest), multiple=int(multiple), optimizer=_OPTIMIZERS[optimizer])
    return Network(
        name=TIMM + name,
        family=family,
        parameters=int(parameters),
        photo=int(photo),
        stages=tuple(stage for entry in stages.split() for stage in _stages(entry)),
        traits=traits,
        weights_file=f"{name}.safetensors",
        license=None if licence == NONE else licence,
        colours=COLOURS[colours],
        resampling=_RESAMPLINGS[resampling],
    )


def _stages(entry: str) -> Iterator[str]:
    if found := _RANGE.fullmatch(entry):
        yield from (f"{found[1]}{number}" for number in range(int(found[2]) + 1))
    else:
        yield entry


_OPTIMIZERS: Mapping[str, Optimizer] = MappingProxyType({"sgd": "sgd", "adamw": "adamw"})
_RESAMPLINGS: Mapping[str, Resampling] = MappingProxyType({"bilinear": "bilinear", "bicubic": "bicubic"})
