"""Muon and NorMuon: matrices follow orthogonalised momentum, everything else AdamW.

Shapes: a matrix is (R, C); S is the smaller of R and C.
"""

import math
from typing import Any

import torch
from torch import Tensor

from rnncli.kernels.matmul import fast_matmul

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b and c of the odd polynomial a s + b s^3 + c s^5, which moves all singular values s close to 1."""

STEPS = 5
"""How often the polynomial is applied."""

MOMENTUM = 0.95
"""The matrices' default momentum."""

DECAY = 0.95
"""Of NorMuon's mean squares."""

RMS = 0.2
"""Root mean square of an update at learning rate 1: about that of AdamW's, so that one rate serves both."""


class Muon(torch.optim.AdamW):
    """Groups with `orthogonal` step along their orthogonalised momentum, the others as AdamW.

    M = mu M + (1 - mu) G;  W = W - lr (RMS sqrt(max(R, C)) orthogonal(mu M + (1 - mu) G) + weight_decay W), with mu the
    `momentum` (Jordan et al. 2024, kellerjordan.github.io/posts/muon; the size of a step as Liu et al. 2025,
    arXiv:2502.16982).
    """

    def __init__(self, groups: Any, lr: float, *, momentum: float = MOMENTUM, **adamw: Any) -> None:
        super().__init__(groups, lr, **adamw)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step; the gradients of orthogonal groups are consumed."""
        for group in self.param_groups:
            if group.get("orthogonal"):
                for parameter in group["params"]:
                    self._orthogonal_step(parameter, group)
        return super().step(closure)

    def _orthogonal_step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient, parameter.grad = parameter.grad, None  # AdamW skips what has no gradient
        if gradient is None:
            return
        state = self.state[parameter]
        if not state:  # when it is loaded, AdamW expects a step in every state
            state.update(momentum=torch.zeros_like(parameter), step=torch.zeros(()))
        momentum = state["momentum"]
        momentum.lerp_(gradient, 1 - self.momentum)
        update = self._scaled(orthogonal(gradient.lerp(momentum, self.momentum)), state)
        rate = group["lr"]  # a tensor where the step is recorded as a graph
        parameter.mul_(1 - rate * group["weight_decay"])
        if isinstance(rate, Tensor):
            parameter.addcmul_(update, rate, value=-RMS)
        else:
            parameter.add_(update, alpha=-rate * RMS)

    def _scaled(self, update: Tensor, state: dict[str, Any]) -> Tensor:
        """Scale an orthogonal matrix (R, C) to values of about 1."""
        del state
        return update * math.sqrt(max(update.shape))


class NorMuon(Muon):
    """Muon with equal steps for all rows, each the weights of one unit's gate (Li et al. 2025, arXiv:2510.05491).

    v = rho v + (1 - rho) the mean square of each row of O, the orthogonalised momentum, rho 0.95; W = W - lr (RMS
    sqrt(R C) N / |N| + weight_decay W), N = O / sqrt(v) row by row.
    """

    def _scaled(self, update: Tensor, state: dict[str, Any]) -> Tensor:
        squares: Tensor = torch.linalg.vector_norm(update, dim=1, keepdim=True).square() / update.shape[1]
        mean: Tensor = state.setdefault("squares", torch.zeros_like(squares)).lerp_(squares, 1 - DECAY)
        rows = (mean.sqrt() + 1e-8).reciprocal()
        return update * rows.mul((squares * rows.square()).mean().add(1e-24).rsqrt())


def orthogonal(matrix: Tensor) -> Tensor:
    """Return about U V' of a matrix U S V', (R, C): its singular values lie between 0.7 and 1.2.

    Newton-Schulz: X = P X with P = a + b A + c A^2 and A = X X' (S, S). All P are polynomials of the first A, so that
    they are multiplied together while small, and the matrix is used once at the end.
    """
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    x = x / (x.norm() + 1e-12)
    a, b, c = COEFFICIENTS
    with fast_matmul("float32"):
        gram = x @ x.t()
        total: Tensor | None = None
        for step in range(STEPS):
            p = torch.addmm(gram, gram, gram, beta=b, alpha=c)
            p.diagonal().add_(a)
            total = p if total is None else p @ total
            if step < STEPS - 1:
                gram = p @ gram @ p
        assert total is not None
        update: Tensor = total @ x
    return update if matrix.shape[0] <= matrix.shape[1] else update.t()
