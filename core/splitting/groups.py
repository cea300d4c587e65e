"""Hold images back for a part without dividing a group.

A group is a burst of frames, or the photos of one animal: images so alike that a test with some of them says nothing
when others were trained on.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

TEST_SHARE = 0.2  # of each class, where a data set has no test part
SPLIT_SEED = 0
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Sizes = Mapping[str, Mapping[int, int]]  # of each group, images by class


def hold_back(labels: Sequence[int], groups: Sequence[str], share: float, seed: int) -> Mask:
    """Choose whole groups with about ``share`` of each class.

    An image with the group "" is a group of its own. Some image of every class stays, and one at least is held back of
    each that groups allow to be divided; whether of all, the caller checks. The order of the images does not matter.
    """
    named = [group or f"\0{place}" for place, group in enumerate(groups)]
    sizes = _sizes(labels, named)
    totals = Counter(labels)
    held, taken = set[str](), Counter[int]()
    order = sorted(sizes)
    np.random.default_rng(seed).shuffle(order)
    limits = {label: max(1, round(share * total)) for label, total in totals.items()}
    for group in order:
        if all(taken[label] + count <= min(limits[label], totals[label] - 1) for label, count in sizes[group].items()):
            held.add(group)
            taken.update(sizes[group])
    of_label: dict[int, list[str]] = defaultdict(list)
    for group in order:
        for label in sizes[group]:
            of_label[label].append(group)
    for label in sorted(totals):
        if not taken[label] and (smallest := _smallest(of_label[label], sizes, totals, taken)) is not None:
            held.add(smallest)
            taken.update(sizes[smallest])
    return np.array([group in held for group in named], np.bool_)


def undivided(labels: Sequence[int], held_back: Mask) -> set[int]:
    """Return the classes of which no image is held back."""
    return set(labels) - {label for label, held in zip(labels, held_back.tolist(), strict=True) if held}


def _sizes(labels: Sequence[int], groups: Sequence[str]) -> dict[str, Counter[int]]:
    sizes: dict[str, Counter[int]] = {}
    for label, group in zip(labels, groups, strict=True):
        sizes.setdefault(group, Counter())[label] += 1
    return sizes


def _smallest(groups: Sequence[str], sizes: Sizes, totals: Mapping[int, int], taken: Mapping[int, int]) -> str | None:
    """Return the smallest group that empties no class."""
    fitting = [
        group for group in groups if all(taken[label] + count < totals[label] for label, count in sizes[group].items())
    ]
    return min(fitting, key=lambda group: sum(sizes[group].values()), default=None)
