"""Freezing: which part of a network keeps its weights, and that part cut off, so that it need run only once an image.

Knows no data and no training.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from torch import fx, nn
from torchvision import ops

from core.errors import InvalidRecipe

HOLD_ALL = ("features", "encoder", "encoder.layers", "trunk_output", "layers", "blocks")  # in one family or another


@dataclass(frozen=True)
class Cut:
    """A network in two: ``rest(*frozen(images))`` is ``network(images)``. Both share its weights."""

    frozen: fx.GraphModule
    rest: fx.GraphModule


def freeze(network: nn.Module, what: str) -> list[str]:
    """Stop the training of "backbone" (all but the last layer) or "until:<stage>" (that stage and all before it).

    Returns the names of the modules that are frozen. InvalidRecipe names the stages when there is no such one.
    """
    frozen = _backbone(network) if what == "backbone" else _until(network, what.removeprefix("until:"))
    for name in frozen:
        network.get_submodule(name).requires_grad_(False)
    for around in {name.rpartition(".")[0] for name in frozen}:  # a vision transformer's class token, and its positions
        for parameter in network.get_submodule(around).parameters(recurse=False):
            parameter.requires_grad_(False)
    return frozen


def unfreeze(network: nn.Module) -> None:
    network.requires_grad_(True)


def train_mode(network: nn.Module, frozen: Iterable[str]) -> None:
    """Training, but for what is frozen: its BatchNorm keeps the statistics that its weights were made for."""
    network.train()
    for name in frozen:
        network.get_submodule(name).eval()


def cut(network: nn.Module, frozen: Iterable[str]) -> Cut:
    """The network split where the first thing follows that is not frozen."""
    graph = _Tracer().trace(network)
    prefixes = tuple(frozen)
    late: set[fx.Node] = set()  # what depends on something that is trained
    for node in graph.nodes:
        trained = node.op in ("call_module", "get_attr") and not _is_frozen(network, str(node.target), prefixes)
        if node.op == "output" or trained or any(source in late for source in node.all_input_nodes):
            late.add(node)
    border = [
        node
        for node in graph.nodes
        if node not in late and node.op != "get_attr" and any(user in late for user in node.users)
    ]
    return Cut(_first_half(network, graph, late, border), _second_half(network, graph, late, border))


class _Tracer(fx.Tracer):
    """Looks into networks, not into the layers that torchvision adds to torch's: some ask whether they train."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, ops.StochasticDepth) or super().is_leaf_module(module, name)


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
        # a parameter that is used on this side is read on this side
        if node in late or (node.op == "get_attr" and any(user in late for user in node.users)):
            copies[node] = half.node_copy(node, copies.__getitem__)
    return _module(network, half)


def _module(network: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    module = fx.GraphModule(network, graph)
    graph.eliminate_dead_code()
    module.recompile()
    return module


def _backbone(network: nn.Module) -> list[str]:
    """All before the layer that gives the classes, the pre-trained layers of the head among it (vgg16: 119 million
    parameters). What has no weights and lies behind the last of these, like a dropout, goes on with that layer.
    """
    *before, (head, layers) = network.named_children()
    learnt = [name for name, layer in layers.named_children() if any(True for _ in layer.parameters())]
    kept = [name for name, _ in layers.named_children()]
    kept = kept[: kept.index(learnt[-2]) + 1] if len(learnt) > 1 else []
    return [name for name, _ in before] + [f"{head}.{name}" for name in kept]


def _until(network: nn.Module, stage: str) -> list[str]:
    stages = _stages(network)
    if stage not in stages:
        raise InvalidRecipe(f"freeze: this network has no stage {stage!r}; it has {', '.join(stages)}.")
    return stages[: stages.index(stage) + 1]


def _stages(network: nn.Module) -> list[str]:
    """The parts of the network but its head, and the parts of those that hold nearly all of it."""
    return [stage for name, part in list(network.named_children())[:-1] for stage in _parts(name, part)]


def _parts(name: str, module: nn.Module) -> list[str]:
    children = list(module.named_children()) if name in HOLD_ALL else []
    return [part for child, inner in children for part in _parts(f"{name}.{child}", inner)] or [name]


def _is_frozen(network: nn.Module, target: str, frozen: tuple[str, ...]) -> bool:
    """Whether a module lies in what is frozen, or a parameter does not learn, like a class token."""
    in_frozen = any(target == name or target.startswith(f"{name}.") for name in frozen)
    found = attrgetter(target)(network)
    return in_frozen or (isinstance(found, nn.Parameter) and not found.requires_grad)
