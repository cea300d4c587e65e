"""Find a network by its name, be it of the catalogue or timm's."""

import difflib
from collections.abc import Iterator
from itertools import chain

from core.networks import NETWORKS, TIMM, TOO_LARGE, Network
from core.networks.timm_table import timm_networks


def find(name: str) -> Network | None:
    return timm_networks().get(name) if name.startswith(TIMM) else NETWORKS.get(name)


def get(name: str) -> Network:
    """Return the network of a validated recipe."""
    found = find(name)
    if found is None:
        raise KeyError(name)
    return found


def search(text: str) -> Iterator[Network]:
    """Yield the networks whose names contain the text, in any case, the catalogue's first."""
    every = chain(NETWORKS.values(), timm_networks().values())
    return (network for network in every if text.lower() in network.name.lower())


def refusal(name: str) -> str | None:
    """Explain why a recipe cannot name this network; None if it can."""
    if name in TOO_LARGE:
        return "has more than 2 GiB of weights, which no ONNX file can hold; GET /networks lists others"
    if find(name) is not None:
        return None
    alike = _alike(name)
    hint = f"did you mean {' or '.join(alike)}? " if alike else ""
    return f"is not a network that can be trained; {hint}{_where(name)} lists them"


def _alike(name: str) -> list[str]:
    if not name.startswith(TIMM):
        return difflib.get_close_matches(name, NETWORKS)
    whole = [known for known in timm_networks() if known.startswith(f"{name}.")]  # its weights were left out
    return whole[:3] or difflib.get_close_matches(name, timm_networks())


def _where(name: str) -> str:
    return f"GET /networks?search={TIMM}" if name.startswith(TIMM) else "GET /networks"
