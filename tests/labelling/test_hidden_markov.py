"""Hidden Markov models against sums over all paths of states, one path at a time in float64."""

import itertools
from typing import Any

import numpy as np
import pytest

from rnncli.labelling.hidden_markov import HiddenMarkov, expected_counts, fit, log_likelihoods, random_model

pytestmark = pytest.mark.no_backend

TEXTS = [[0, 2, 1, 1, 3], [2], [3, 3, 0], [1, 2, 3, 0], [0, 0, 1, 2, 3, 1], [2, 2]]


def paths(model: HiddenMarkov, text: list[int]) -> dict[tuple[int, ...], float]:
    """The probability of each path of states together with the text."""
    found = {}
    for path in itertools.product(range(len(model.initial)), repeat=len(text)):
        probability = float(model.initial[path[0]])
        for before, after in itertools.pairwise(path):
            probability *= float(model.transitions[before, after])
        for state, symbol in zip(path, text, strict=True):
            probability *= float(model.emissions[state, symbol])
        found[path] = probability
    return found


def counted(model: HiddenMarkov, texts: list[list[int]]) -> tuple[HiddenMarkov, float]:
    """The expected counts and the log-likelihood of the texts, path by path."""
    initial, transitions, emissions = (np.zeros_like(each) for each in model)
    total = 0.0
    for text in texts:
        joint = paths(model, text)
        whole = sum(joint.values())
        total += np.log(whole)
        for path, probability in joint.items():
            initial[path[0]] += probability / whole
            for pair in itertools.pairwise(path):
                transitions[pair] += probability / whole
            for pair in zip(path, text, strict=True):
                emissions[pair] += probability / whole
    return HiddenMarkov(initial, transitions, emissions), total


def test_log_likelihoods_are_sums_over_all_paths() -> None:
    model = random_model(3, 4, seed=1)
    wanted = [np.log(sum(paths(model, text).values())) for text in TEXTS]
    np.testing.assert_allclose(log_likelihoods(model, TEXTS), wanted, rtol=1e-12)


def test_expected_counts_are_those_of_all_paths() -> None:
    model = random_model(3, 4, seed=2)
    found, total = expected_counts(model, TEXTS)
    wanted, wanted_total = counted(model, TEXTS)
    assert total == pytest.approx(wanted_total, rel=1e-12)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-14)


def rows(counts: Any) -> Any:
    return counts / counts.sum(-1, keepdims=True)


def test_fit_is_repeated_counting() -> None:
    start = random_model(3, 4, seed=3)
    model, likelihoods = start, []
    for _ in range(4):
        counts, total = counted(model, TEXTS)
        model = HiddenMarkov(rows(counts.initial), rows(counts.transitions), rows(counts.emissions + 0.5))
        likelihoods.append(total)
    found = fit(start, TEXTS, smoothing=0.5, max_iterations=4, tolerance=-np.inf)
    for ours, theirs in zip(found, model, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-14)
    gains = np.diff(likelihoods)
    stopped = fit(start, TEXTS, smoothing=0.5, tolerance=float(gains[0]) + 1e-9)  # more than the second gains
    second = fit(start, TEXTS, smoothing=0.5, max_iterations=2, tolerance=-np.inf)
    np.testing.assert_array_equal(stopped.emissions, second.emissions)


def test_a_model_is_found_again_from_its_own_texts() -> None:
    """Two states that alternate: 0 emits only symbol 0, and 1 emits 1 or 2, twice as often 1."""
    generator = np.random.default_rng(0)
    texts = [[0 if step % 2 == 0 else int(generator.choice([1, 1, 2])) for step in range(40)] for _ in range(30)]
    model = fit(random_model(2, 3, seed=5), texts, smoothing=1e-6, max_iterations=200, tolerance=1e-9)
    first = int(model.initial.argmax())
    np.testing.assert_allclose(model.transitions, [[0, 1], [1, 0]], atol=1e-4)
    np.testing.assert_allclose(model.emissions[first], [1, 0, 0], atol=1e-4)
    np.testing.assert_allclose(model.emissions[1 - first], [0, 2 / 3, 1 / 3], atol=0.05)


def test_long_texts_do_not_underflow_and_texts_of_one_symbol_keep_the_transitions() -> None:
    model = random_model(3, 4, seed=4)
    assert log_likelihoods(model, [[0, 1, 2, 3] * 2000])[0] == pytest.approx(-11_000, rel=0.2)
    single = fit(model, [[0], [2], [2]])
    np.testing.assert_array_equal(single.transitions, model.transitions)
    assert np.isfinite(log_likelihoods(single, [[0, 1, 2]])).all()
