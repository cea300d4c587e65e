"""core.splitting.groups: whole groups are held back, of every class that allows it."""

from collections import Counter

import numpy as np

from core.splitting.groups import hold_back, undivided


def test_no_group_is_divided_whatever_its_size_and_classes() -> None:
    for seed in range(60):
        random = np.random.default_rng(seed)
        count, classes, bursts = int(random.integers(8, 300)), int(random.integers(2, 6)), int(random.integers(2, 60))
        groups = [f"burst {number}" if number else "" for number in random.integers(0, bursts, count)]
        labels = random.integers(0, classes, count).tolist()
        held = hold_back(labels, groups, 0.2, seed)
        parts: dict[str, set[bool]] = {}
        for group, is_held in zip(groups, held.tolist(), strict=True):
            parts.setdefault(group, set()).add(is_held)
        assert all(len(found) == 1 for group, found in parts.items() if group), seed
        staying = Counter(label for label, is_held in zip(labels, held.tolist(), strict=True) if not is_held)
        assert set(staying) == set(labels), seed  # something is left to learn each class from


def test_about_the_share_of_each_class_is_held_back_and_of_each_at_least_one() -> None:
    labels = [0] * 1000 + [1] * 60 + [2] * 6
    groups = [f"{label}-{place // 3}" for place, label in enumerate(labels)]
    held = hold_back(labels, groups, 0.2, seed=0)
    assert [int(held[np.array(labels) == label].sum()) for label in range(3)] == [199, 12, 1]


def test_the_order_of_the_images_does_not_matter() -> None:
    labels = [place % 3 for place in range(90)]
    groups = [f"{place % 3}-{place // 9}" for place in range(90)]
    order = np.random.default_rng(1).permutation(90)
    held = hold_back(labels, groups, 0.2, seed=0)
    shuffled = hold_back([labels[place] for place in order], [groups[place] for place in order], 0.2, seed=0)
    assert shuffled.tolist() == held[order].tolist()


def test_a_class_of_one_group_is_named_as_undivided() -> None:
    labels, groups = [0, 0, 0, 1, 1, 1], ["a", "a", "a", "b", "c", "c"]
    held = hold_back(labels, groups, 0.2, seed=0)
    assert undivided(labels, held) == {0}
    assert held.tolist() == [False, False, False, True, False, False]
