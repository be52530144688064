"""Matmuls of small matrices at every step of a sequence, in compiled code; imports numba."""

from typing import Any

from rnncli.kernels.engine.arithmetic import compiled, multiply


@compiled
def multiply_steps(sources: Any, weight: Any, out: Any) -> None:
    """Set out (T, B, N) to sources (T, B, K) times weight (K, N)."""
    for t in range(len(sources)):
        multiply(sources[t], weight, out[t])
