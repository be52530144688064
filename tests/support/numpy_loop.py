"""Parts of the equations of cells in numpy, for `rnncli.testing.check_equations`."""

from collections.abc import Callable

import numpy as np

from rnncli.testing import Weights

__all__ = ["ACTIVATIONS", "Weights", "block", "positive", "sigmoid"]

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "relu": lambda a: np.where(a > 0, a, 0),
}
sigmoid = ACTIVATIONS["sigmoid"]


def block(weight: np.ndarray, gate: int, gates: int) -> np.ndarray:
    """Return one gate's rows of a stacked weight, transposed for row vectors: (D, M); of a bias: (M,)."""
    return np.split(weight, gates)[gate].T


def positive(a: np.ndarray) -> np.ndarray:
    """The positive candidates of minGRU and minLSTM (Feng et al. 2024, appendix B)."""
    return np.where(a >= 0, a + 0.5, sigmoid(a))
