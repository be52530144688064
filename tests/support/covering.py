"""A few cases instead of all combinations of several axes: any values of any two axes, or three, meet in one case."""

from collections.abc import Iterable
from itertools import combinations, product
from typing import Any


def covering(*axes: Iterable[Any], strength: int = 2) -> list[tuple[Any, ...]]:
    """Cases with one value of each axis, among which any values of any `strength` axes meet.

    Three axes of two values each make eight combinations; four of them have every pair. The choice is greedy, after
    AETG (Cohen et al., 1997): the next case is the first combination with the greatest number of new meetings. The
    choice is deterministic, so every process has the same cases.
    """
    values = [list(axis) for axis in axes]
    places = list(combinations(range(len(values)), strength))
    left = [
        (case, {(place, tuple(case[axis] for axis in place)) for place in places})
        for case in product(*(range(len(each)) for each in values))
    ]
    cases = []
    while left:
        best, meetings = max(left, key=lambda each: len(each[1]))
        cases.append(tuple(each[index] for each, index in zip(values, best, strict=True)))
        left = [(case, rest) for case, those in left if (rest := those - meetings)]
    return cases
