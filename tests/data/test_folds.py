"""Folds: related items stay together, and labels are spread evenly."""

import random
from collections import Counter

import pytest
from sklearn.model_selection import StratifiedGroupKFold

from rnncli.data.folds import clusters, stratified_folds


def test_items_that_share_a_key_form_one_cluster() -> None:
    numbers = clusters(["a", "b", "a", "c", "d", "e"], [1, 2, 3, 2, 4, 5], ["x", "y", "z", "w", "v", "v"])
    together = [[item for item, each in enumerate(numbers) if each == number] for number in dict.fromkeys(numbers)]
    assert together == [[0, 2], [1, 3], [4, 5]]


def test_a_chain_of_keys_is_one_cluster() -> None:
    assert len(set(clusters([0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 2, 0]))) == 1


@pytest.mark.parametrize("seed", range(5))
def test_clusters_stay_whole_and_labels_are_as_even_as_scikit_learns(seed: int) -> None:
    generator = random.Random(seed)
    belonging = [generator.randrange(60) for _ in range(400)]
    labels = [generator.choice("aaab") for _ in belonging]
    folds = stratified_folds(labels, belonging, 5, seed)
    assert len({(cluster, fold) for cluster, fold in zip(belonging, folds, strict=True)}) == len(set(belonging))

    def unevenness(folds: list[int]) -> float:
        counts = Counter(zip(folds, labels, strict=True))
        return max(abs(counts[fold, label] / labels.count(label) - 0.2) for fold in range(5) for label in "ab")

    theirs = [0] * len(labels)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(splitter.split(labels, labels, belonging)):
        for row in rows:
            theirs[row] = fold
    assert unevenness(folds) <= unevenness(theirs) + 0.01


def test_fold_sizes_differ_by_at_most_one() -> None:
    labels = ["a"] * 103 + ["b"] * 21
    folds = stratified_folds(labels, range(124), 5, 0)
    for label in "ab":
        counts = Counter(fold for fold, its in zip(folds, labels, strict=True) if its == label)
        assert max(counts.values()) - min(counts.values()) <= 1
    assert folds != stratified_folds(labels, range(124), 5, 1)
    assert folds == stratified_folds(labels, range(124), 5, 0)
