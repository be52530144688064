"""Hidden Markov models of symbols: M states that follow one another, each of which emits one of V symbols.

Baum-Welch with scaled forward and backward passes (Rabiner 1989), over all N texts at the same time.
"""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Texts = Sequence[Sequence[int]]


class HiddenMarkov(NamedTuple):
    """Probabilities, or expected counts: the first state (M,), the next after each state (M, M), symbols (M, V)."""

    initial: "Floats"
    transitions: "Floats"
    emissions: "Floats"


def random_model(states: int, symbols: int, seed: int) -> HiddenMarkov:
    """A model to begin with: uneven rows of states (Dirichlet, 1/M), uniform random numbers for the symbols."""
    generator, second = np.random.RandomState(seed), np.random.RandomState(seed)
    uneven = np.full(states, 1 / states)
    counts = generator.dirichlet(uneven), generator.dirichlet(uneven, size=states), second.rand(states, symbols)
    return HiddenMarkov(*map(_normalised, counts))


def fit(
    model: HiddenMarkov, texts: "Texts", smoothing: float = 0.1, max_iterations: int = 30, tolerance: float = 1.0
) -> HiddenMarkov:
    """Fit a model by expectation-maximization, until the log-likelihood gains less than `tolerance` nats.

    `smoothing` is added to the count of every symbol in every state.
    """
    before = -np.inf
    for _ in range(max_iterations):
        counts, log_likelihood = expected_counts(model, texts)
        counts = counts._replace(emissions=counts.emissions + smoothing)
        model = HiddenMarkov(*map(_normalised, counts, model))
        if log_likelihood - before < tolerance:
            break
        before = log_likelihood
    return model


def expected_counts(model: HiddenMarkov, texts: "Texts") -> tuple[HiddenMarkov, float]:
    """The expected number of each first state, transition and emission in the texts; their log-likelihood in nats."""
    steps, _ = _by_step(texts)
    forward = _forward(model, steps)
    initial, transitions, emissions = (np.zeros_like(each) for each in model)
    backward = np.ones((0, len(initial)))
    for step in reversed(range(len(steps))):
        ended = len(steps[step]) - len(backward)
        backward = np.concatenate([backward @ model.transitions.T, np.ones((ended, len(initial)))])
        states, scales = forward[step]
        np.add.at(emissions.T, steps[step], states * backward)
        if step == 0:
            initial = (states * backward).sum(0)
        backward *= model.emissions.T[steps[step]] / scales
        if step > 0:
            transitions += model.transitions * (forward[step - 1][0][: len(backward)].T @ backward)
    return HiddenMarkov(initial, transitions, emissions), float(sum(np.log(scales).sum() for _, scales in forward))


def log_likelihoods(model: HiddenMarkov, texts: "Texts") -> "Floats":
    """The log-probability of each text in nats, (N,)."""
    steps, order = _by_step(texts)
    found = np.zeros(len(texts))
    for _, scales in _forward(model, steps):
        found[order[: len(scales)]] += np.log(scales[:, 0])
    return found


def _by_step(texts: "Texts") -> tuple[list["Integers"], "Integers"]:
    """The symbols of each step, of the texts that reach it, longest text first; the texts' numbers in this order."""
    lengths = np.array([len(text) for text in texts])
    order = np.argsort(-lengths, kind="stable")
    symbols, begins = np.fromiter(chain.from_iterable(texts), np.int64), np.cumsum(lengths) - lengths
    return [symbols[begins[order[: (lengths > step).sum()]] + step] for step in range(lengths.max())], order


def _forward(model: HiddenMarkov, steps: list["Integers"]) -> list[tuple["Floats", "Floats"]]:
    """For each step the probabilities of its states given the symbols so far, and of its symbol given those before."""
    found: list[tuple[Floats, Floats]] = []
    states = model.initial[None]
    for symbols in steps:
        if found:
            states = states[: len(symbols)] @ model.transitions
        joint = states * model.emissions.T[symbols]
        scales = joint.sum(1, keepdims=True)
        states = joint / scales
        found.append((states, scales))
    return found


def _normalised(counts: "Floats", otherwise: "Floats | None" = None) -> "Floats":
    """Rows that sum to one; a row without counts is that of `otherwise`."""
    sums = counts.sum(-1, keepdims=True)
    return counts / sums if otherwise is None else np.where(sums > 0, counts / np.where(sums > 0, sums, 1), otherwise)
