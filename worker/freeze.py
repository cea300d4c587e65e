"""Freezing: which part of a network keeps its weights, and that part cut off, so that it need run only once an image.

Knows no data and no training.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from core.errors import InvalidRecipe

Activations = tuple[Tensor, ...]


@dataclass(frozen=True)
class Cut:
    """A network in two: ``rest(*frozen(images))`` is what ``network(images)`` is. Both share its weights."""

    frozen: fx.GraphModule
    rest: fx.GraphModule


def head_of(network: nn.Module) -> str:
    """The name of the part that gives the classes: the last one, in every family of torchvision."""
    return list(network.named_children())[-1][0]


def freeze(network: nn.Module, what: str) -> list[str]:
    """Stop the training of "backbone" (all but the head) or "until:<stage>" (that stage and all before it).

    Returns the names of the modules that are frozen. InvalidRecipe names the stages when there is no such one.
    """
    frozen = _backbone(network) if what == "backbone" else _until(network, what.removeprefix("until:"))
    for name in frozen:
        network.get_submodule(name).requires_grad_(False)
    for name, parameter in network.named_parameters(recurse=False):  # a vision transformer's class token
        if parameter.requires_grad and "." not in name:
            parameter.requires_grad_(False)
    return frozen


def train_mode(network: nn.Module, frozen: Iterable[str]) -> None:
    """Training, but for what is frozen: its BatchNorm keeps the statistics that its weights were made for."""
    network.train()
    for name in frozen:
        network.get_submodule(name).eval()


def cut(network: nn.Module, frozen: Iterable[str]) -> Cut:
    """The network split where the first thing follows that is not frozen."""
    graph = fx.symbolic_trace(network).graph
    prefixes = tuple(frozen)
    late: set[fx.Node] = set()  # what depends on something that is trained
    for node in graph.nodes:
        trained = node.op == "call_module" and not _lies_in(str(node.target), prefixes)
        if node.op == "output" or trained or any(source in late for source in node.all_input_nodes):
            late.add(node)
    border = [
        node
        for node in graph.nodes
        if node not in late and node.op != "get_attr" and any(user in late for user in node.users)
    ]
    return Cut(_first_half(network, graph, late, border), _second_half(network, graph, late, border))


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
    graph.eliminate_dead_code()
    graph.lint()
    return fx.GraphModule(network, graph)


def _backbone(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_children()][:-1]


def _until(network: nn.Module, stage: str) -> list[str]:
    """Stages are the parts of the network, and the parts of its ``features`` where it has those."""
    stages = _stages(network)
    if stage not in stages:
        raise InvalidRecipe(f"freeze: this network has no stage {stage!r}; it has {', '.join(stages)}.")
    return stages[: stages.index(stage) + 1]


def _stages(network: nn.Module) -> list[str]:
    stages: list[str] = []
    for name, child in list(network.named_children())[:-1]:
        parts = [f"{name}.{part}" for part, _ in child.named_children()] if name == "features" else []
        stages += parts or [name]
    return stages


def _lies_in(target: str, prefixes: tuple[str, ...]) -> bool:
    return any(target == prefix or target.startswith(f"{prefix}.") for prefix in prefixes)


@torch.inference_mode()
def activations(frozen: nn.Module, images: Tensor) -> Activations:
    """What the frozen part makes of prepared images."""
    made: Activations = frozen(images)
    return made
