"""Few cases cover all combinations: any values of any two, or three, axes occur together."""

from itertools import combinations, product

import pytest
from support.covering import covering


@pytest.mark.parametrize(("strength", "max_cases"), [(1, 5), (2, 18), (3, 50)])
def test_any_values_of_a_few_axes_occur_together(strength: int, max_cases: int) -> None:
    axes = [range(5), "abc", "xy", [True, False], "pqr"]
    cases = covering(*axes, strength=strength)
    assert len(cases) == len(set(cases)) <= max_cases
    for places in combinations(range(len(axes)), strength):
        met = {tuple(case[place] for place in places) for case in cases}
        assert met == set(product(*(axes[place] for place in places)))


def test_an_axis_of_one_value_is_in_every_case() -> None:
    assert covering("a", [1, 2]) == [("a", 1), ("a", 2)]
