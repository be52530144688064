"""Folds for cross-validation: stratified by label, and related items always in the same fold."""

import random
from collections import Counter
from collections.abc import Hashable, Sequence


def clusters(*keys: Sequence[Hashable]) -> list[int]:
    """Number N items so that items that share a value in any of the `keys` (N values each) get the same number."""
    size = len(keys[0])
    parents = list(range(size))

    def root(item: int) -> int:
        while parents[item] != item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    for values in keys:
        first: dict[Hashable, int] = {}
        for item, value in enumerate(values):
            parents[root(item)] = root(first.setdefault(value, item))
    return [root(item) for item in range(size)]


def stratified_folds(labels: Sequence[str], belonging: Sequence[int], count: int, seed: int) -> list[int]:
    """Assign N items to `count` folds, each cluster to one fold, so that every label is spread evenly.

    Clusters are assigned in random order, large ones first, each to the fold with the fewest of its labels so far.
    """
    members: dict[int, list[int]] = {}
    for item, cluster in enumerate(belonging):
        members.setdefault(cluster, []).append(item)
    order = list(members.values())
    random.Random(seed).shuffle(order)
    order.sort(key=len, reverse=True)
    totals = Counter(labels)
    dealt: list[Counter[str]] = [Counter() for _ in range(count)]
    folds = [0] * len(labels)
    for items in order:
        parts = Counter(labels[item] for item in items)
        load = [sum(has[label] * part / totals[label] for label, part in parts.items()) for has in dealt]
        fold = min(range(count), key=lambda each: (load[each], dealt[each].total()))
        dealt[fold] += parts
        for item in items:
            folds[item] = fold
    return folds
