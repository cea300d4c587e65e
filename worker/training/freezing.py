"""Freezing a part of a network, and splitting the network behind it.

The frozen half then has to run only once per image. This file knows no data and no training.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from torch import fx, nn
from torchvision import ops

from core.errors import InvalidRecipe
from core.inference.network import is_timms, timms_untraceable

# modules that hold nearly the whole network in one family or another
CONTAINERS = ("features", "encoder", "encoder.layers", "trunk_output", "layers", "blocks", "stages")


@dataclass(frozen=True)
class SplitNetwork:
    """A network in two halves that share its weights: ``rest(*frozen(images))`` is ``network(images)``."""

    frozen: fx.GraphModule
    rest: fx.GraphModule


def freeze(network: nn.Module, what: str) -> list[str]:
    """Freeze a part of the network; returns the frozen modules' names.

    "backbone" is all but the last layer, "until:<stage>" that stage and all before it. If there is no such stage, the
    InvalidRecipe that it raises names those there are.
    """
    frozen = _backbone(network) if what == "backbone" else _until(network, what.removeprefix("until:"))
    for name in frozen:
        network.get_submodule(name).requires_grad_(False)
    for parent in {name.rpartition(".")[0] for name in frozen}:  # a vision transformer's class token and positions
        for parameter in network.get_submodule(parent).parameters(recurse=False):
            parameter.requires_grad_(False)
    return frozen


def unfreeze(network: nn.Module) -> None:
    network.requires_grad_(True)


def train_mode(network: nn.Module, frozen: Iterable[str]) -> None:
    """Set training mode, but evaluation mode for frozen modules.

    So the BatchNorm of a frozen module keeps its statistics.
    """
    network.train()
    for name in frozen:
        network.get_submodule(name).eval()


def split_network(network: nn.Module, frozen: Iterable[str]) -> SplitNetwork:
    """Split the network before its first operation that is not frozen."""
    graph = _Tracer(network).trace(network)
    prefixes = tuple(frozen)
    late: set[fx.Node] = set()  # nodes that depend on something trained
    for node in graph.nodes:
        trained = node.op in ("call_module", "get_attr") and not _is_frozen(network, str(node.target), prefixes)
        if node.op == "output" or trained or any(source in late for source in node.all_input_nodes):
            late.add(node)
    border = [
        node
        for node in graph.nodes
        if node not in late and node.op != "get_attr" and any(user in late for user in node.users)
    ]
    return SplitNetwork(_first_half(network, graph, late, border), _second_half(network, graph, late, border))


class _Tracer(fx.Tracer):
    """A tracer that keeps whole what it cannot look into.

    The code of torchvision's StochasticDepth depends on the training mode, that of timm's convolutions, which pad as
    TensorFlow does, on the image's size. timm lists others of its own.
    """

    def __init__(self, network: nn.Module) -> None:
        modules, functions = timms_untraceable() if is_timms(network) else ((), ())
        self._whole = (ops.StochasticDepth, nn.Conv2d, nn.BatchNorm2d, *modules)
        super().__init__(autowrap_functions=functions)

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, self._whole) or super().is_leaf_module(module, name)


def _first_half(network: nn.Module, graph: fx.Graph, late: set[fx.Node], border: list[fx.Node]) -> fx.GraphModule:
    half = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node not in late:
            copies[node] = half.node_copy(node, copies.__getitem__)
    half.output(tuple(copies[node] for node in border))
    return _module(network, half)


def _second_half(network: nn.Module, graph: fx.Graph, late: set[fx.Node], border: list[fx.Node]) -> fx.GraphModule:
    half = fx.Graph()
    copies = {node: half.placeholder(node.name) for node in border}
    for node in graph.nodes:
        # a parameter that this half uses is read in this half
        if node in late or (node.op == "get_attr" and any(user in late for user in node.users)):
            copies[node] = half.node_copy(node, copies.__getitem__)
    return _module(network, half)


def _module(network: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    module = fx.GraphModule(network, graph)
    graph.eliminate_dead_code()
    module.recompile()
    return module


def _backbone(network: nn.Module) -> list[str]:
    """Name the modules before the classifying layer.

    The head's other layers count among them: in vgg16 these have 119 million parameters, in convnext they average the
    maps. A dropout right before the classifying layer is not frozen.
    """
    *before, (head, layers) = network.named_children()
    inner = [*layers.named_children()]
    while inner and not any(True for _ in inner[-1][1].parameters()):
        inner.pop()  # behind the classifying layer
    kept = inner[:-1]
    while kept and isinstance(kept[-1][1], nn.Dropout):
        kept.pop()
    return [name for name, _ in before] + [f"{head}.{name}" for name, _ in kept]


def _until(network: nn.Module, stage: str) -> list[str]:
    stages = _stages(network)
    if stage not in stages:
        raise InvalidRecipe(f"freeze: this network has no stage {stage!r}; it has {', '.join(stages)}.")
    return stages[: stages.index(stage) + 1]


def _stages(network: nn.Module) -> list[str]:
    """Name the network's modules in order, without its head.

    Containers are replaced by their content.
    """
    return [stage for name, part in list(network.named_children())[:-1] for stage in _parts(name, part)]


def _parts(name: str, module: nn.Module) -> list[str]:
    children = list(module.named_children()) if name in CONTAINERS else []
    return [part for child, inner in children for part in _parts(f"{name}.{child}", inner)] or [name]


def _is_frozen(network: nn.Module, target: str, frozen: tuple[str, ...]) -> bool:
    """Check whether a module or parameter is frozen.

    A module is if it lies in a frozen one; a parameter of the network's own may be, like a class token.
    """
    in_frozen = any(target == name or target.startswith(f"{name}.") for name in frozen)
    found = attrgetter(target)(network)
    return in_frozen or (isinstance(found, nn.Parameter) and not found.requires_grad)
