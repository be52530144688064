"""The loss scale of float16: as large as its gradients allow."""

from collections.abc import Mapping
from typing import Any

import torch

FIRST, MIN_SCALE, MAX_SCALE = 2.0**16, 1.0, 2.0**127
"""Loss scales, each a float32; at the minimum or below, a gradient that is not finite is not float16's fault."""

PATIENCE = 2_000
"""Steps in a row with finite gradients, after which the scale doubles."""


class LossScale:
    """A factor of the loss that keeps small gradients from vanishing in float16 (Micikevicius et al. 2018).

    It is halved by each step whose gradient is not finite, which has no effect otherwise, and doubles after `PATIENCE`
    others.
    """

    def __init__(self, device: torch.device) -> None:
        self.factor = torch.full((), FIRST, device=device)  # of the loss; it stays where it is
        self.value, self.held = FIRST, 0

    def update(self, *, skipped: bool) -> None:
        """Adapt to a step that was `skipped`, or not."""
        self.held = 0 if skipped else self.held + 1
        if skipped:
            self._set(self.value / 2)
        elif self.held == PATIENCE:
            self.held = 0
            self._set(min(2 * self.value, MAX_SCALE))

    def _set(self, value: float) -> None:
        self.value = value
        self.factor.fill_(value)

    def state(self) -> dict[str, Any]:
        """Return plain values, under the names that torch's scaler gives them."""
        return {"scale": self.value, "_growth_tracker": self.held}

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Restore values from `state`; raises ValueError for impossible ones."""
        value, held = stored["scale"], stored["_growth_tracker"]
        is_number = type(value) is float or (type(value) is int and abs(value) < 2**63)
        if not (is_number and 0.0 < value <= MAX_SCALE and type(held) is int and 0 <= held < 2**31):
            raise ValueError(f"scaler is {dict(stored)!r}")
        self._set(float(value))
        self.held = held
