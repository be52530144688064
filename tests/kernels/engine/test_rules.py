"""Every operation that the engine knows, in a step, against the plain loop: values and gradients, also at ties."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells.base import Cell, Hidden
from rnncli.kernels.fused import trouble
from rnncli.kernels.scan import scan

pytestmark = [
    pytest.mark.usefixtures("plain_loops"),
    pytest.mark.skipif(bool(trouble()), reason="waits for numba"),
]

Step = Callable[[Any, Tensor, Tensor], Tensor]
"""From the cell, the projected input a and the state h, both (B, M), to the new h."""

STEPS: dict[str, Step] = {
    "arithmetic": lambda c, a, h: (a - h) * 0.5 + 2 / (a * a + 1) - h / 3 - (1 - a),
    "lerp": lambda c, a, h: torch.lerp(h, a, 0.25) + torch.lerp(a, h, torch.sigmoid(a)),
    "scaled sums": lambda c, a, h: torch.add(a, h, alpha=0.3) + torch.sub(a, h, alpha=0.2) + torch.rsub(a, 2.0),
    "addcmul": lambda c, a, h: torch.addcmul(a, h, h, value=0.1) + torch.addcdiv(a, h, a * a + 1),
    "exponentials": lambda c, a, h: torch.exp(-a.abs()) + torch.expm1(h.tanh()) + (h * h).log1p() + (a * a + 1).log(),
    "roots": lambda c, a, h: (a * a + 1).sqrt() + (h * h + 1).rsqrt() + (h * h + 2) ** -1.5 + a**3 + (a * a + 1) ** 0.5,
    "waves": lambda c, a, h: torch.sin(a) * torch.cos(h),
    "relus": lambda c, a, h: F.relu(a) + F.leaky_relu(h, 0.1) + F.elu(a) + F.relu6(h),
    "less common": lambda c, a, h: F.celu(a, 0.5) + F.mish(h) + F.hardswish(2 * a) + F.prelu(h, c.u[:1]),
    "gated linear": lambda c, a, h: F.glu(torch.cat([a, h], 1)) + torch.logaddexp(a, h),
    "infinite": lambda c, a, h: (a + h).masked_fill(a > h, -torch.inf).exp() + h,
    "infinite sums": lambda c, a, h: h + torch.logaddexp(*(x.masked_fill(a > h, -torch.inf) for x in (a, h))).exp(),
    "replaced": lambda c, a, h: h + torch.where(a > h, a, torch.inf).nan_to_num(0.5, posinf=1.0, neginf=-1.0),
    "greatest": lambda c, a, h: a + (a - h).max(1, keepdim=True).values * h + torch.min(h, dim=1)[0][:, None],
    "types": lambda c, a, h: a.float() + h.to(torch.float32) * torch.ones(4, dtype=torch.float32).to(h),
    "smooth": lambda c, a, h: F.gelu(a) + F.gelu(h, approximate="tanh") + F.silu(a) + F.softplus(h) + F.logsigmoid(a),
    "softplus": lambda c, a, h: F.softplus(a, beta=2.0, threshold=1.0) + 0.1 * h,
    "hard": lambda c, a, h: F.hardtanh(a) + F.hardsigmoid(h),
    "extremes": lambda c, a, h: torch.maximum(a, h) + torch.minimum(a, h * 0.5) + a.clamp(-0.3, 0.4) + h.clamp_min(0.1),
    "choices": lambda c, a, h: torch.where(a > h, a, h * 0.5) + (a >= 0).to(a.dtype) * h,
    "filled": lambda c, a, h: (a * h).masked_fill(a > h, 0.5) + h,
    "logic": lambda c, a, h: torch.where((a < 0) & (h < 0) | ~(a == h), a, h),
    "signs": lambda c, a, h: a.abs() * torch.sign(h) + a,
    "slices": lambda c, a, h: torch.cat([a[:, 2:], h[:, :2]], 1) + torch.cat(list(h.split([1, 3], 1))[::-1], 1),
    "interleaved": lambda c, a, h: (a.view(-1, 2, 2).transpose(1, 2).reshape(-1, 4) + h).tanh(),
    "stacked": lambda c, a, h: torch.stack([a, h], 1).sum(1) + torch.stack([a, h], -1).mean(-1) + a[:, None].squeeze(1),
    "repeated": lambda c, a, h: a[:, :2].repeat(1, 2) * h + h[:, :1].expand(-1, 4) * a,
    "rolled": lambda c, a, h: torch.tanh(a + h.roll(1, 1) + h.flip(1)),
    "reductions": lambda c, a, h: a - a.mean(1, keepdim=True) + h.sum(-1, keepdim=True) * 0.1 + a.amax(1, keepdim=True),
    "variance": lambda c, a, h: a / (h.var(1, keepdim=True) + 1) + a / (h.std(1, keepdim=True, correction=0) + 1),
    "norms": lambda c, a, h: F.normalize(a + 2, dim=1) + h.norm(dim=1)[:, None] * 0.1 + a.norm(p=1, dim=1)[:, None],
    "softmax": lambda c, a, h: torch.softmax(a + h, 1) + h.log_softmax(1) * 0.1 + a.logsumexp(1, keepdim=True),
    "layer norm": lambda c, a, h: F.layer_norm(a + h, (4,), c.u, c.v) + F.rms_norm(a, (4,)),
    "detached": lambda c, a, h: a * h.detach() + h,
    "in place": lambda c, a, h: (a + h).mul_(0.5).add_(h),
    "products": lambda c, a, h: a + h @ c.weight_h.T + torch.addmm(c.u, h, c.weight_h) + F.linear(h * a, c.weight_h),
    "vector": lambda c, a, h: a + (h @ c.u)[:, None] * c.v,
    "several weights": lambda c, a, h: torch.tanh(c.inner(torch.relu(c.outer(h))) + a + h * torch.exp(-torch.exp(c.u))),
    "blocks": lambda c, a, h: a + torch.einsum("bgk,gkn->bgn", h.view(-1, 2, 2), c.blocks).flatten(1),
    "folded rows": lambda c, a, h: a + (h.view(-1, 2, 2) @ c.blocks[0]).flatten(1),
    "outer": lambda c, a, h: (a[:, :, None] * h[:, None, :]).sum(2),
    "constants": lambda c, a, h: a * torch.tensor([1.0, 2.0, 3.0, 4.0]).to(a) + h * torch.ones_like(h) + torch.zeros(4),
    "state only": lambda c, a, h: h * 0.5,
    "input only": lambda c, a, h: a * 1.0,
}


class Made(Cell[Hidden]):
    """A cell whose step is one of the table."""

    function: Step

    def add_parameters(self) -> None:
        super().add_parameters()
        for name, shape in {"u": (4,), "v": (4,), "blocks": (2, 2, 2)}.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        self.outer, self.inner = nn.Linear(4, 6), nn.Linear(6, 4, bias=False)

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(type(self).function(self, projected, state.h))


def a_cell(name: str) -> Any:
    torch.manual_seed(3)
    cell: Any = type("Made", (Made,), {"function": staticmethod(STEPS[name]), "__module__": __name__})(3, 4)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, 0.4)
    return cell.double()


def gradients(cell: Any, x: Tensor, backend: str) -> list[Tensor | None]:
    cell.zero_grad()
    x = x.detach().requires_grad_()
    outputs, state = scan(cell, x, cell.initial_state(x.shape[1]), torch.tensor([3, 2, 1]), backend)
    (outputs * torch.linspace(-1, 1, outputs.numel()).view_as(outputs) + state.h.square()).sum().backward()
    return [outputs, state.h, x.grad, *(parameter.grad for parameter in cell.parameters())]


def same(found: list[Tensor | None], wanted: list[Tensor | None]) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        if ours is None or theirs is None:
            assert all(each is None or not each.any() for each in (ours, theirs))
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("name", STEPS)
def test_equals_the_plain_loop(name: str, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("SMALL", "SMALL_AND_SHORT"):
        monkeypatch.setattr(f"rnncli.kernels.engine.scan.{limit}", 10**9 if small else 0)
    cell = a_cell(name)
    x = torch.randn(3, 3, 3, dtype=torch.float64)
    same(gradients(cell, x, "fused"), gradients(cell, x, "reference"))


@pytest.mark.parametrize("name", ["relus", "hard", "extremes", "choices", "signs", "reductions"])
def test_ties_have_torchs_subgradients(name: str) -> None:
    """Everything is 0, or at a limit."""
    cell = a_cell(name)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.bias.copy_(torch.tensor([0.0, -0.3, 0.4, 1.0]))
        cell.h0.copy_(torch.tensor([0.0, -0.3, 0.1, 3.0]))
    x = torch.zeros(3, 3, 3, dtype=torch.float64)
    same(gradients(cell, x, "fused"), gradients(cell, x, "reference"))


@pytest.mark.parametrize("value", [float("nan"), 1000.0, -1000.0])
@pytest.mark.parametrize(
    "function",
    [F.relu, F.relu6, F.hardtanh, F.hardsigmoid, F.elu, F.selu, F.leaky_relu, lambda z: z.clamp(-1, 1)],
)
def test_values_and_gradients_at_extremes(function: Callable[[Tensor], Tensor], value: float) -> None:
    class Plain(Made):
        def step(self, projected: Tensor, state: Hidden) -> Hidden:
            return Hidden(function(projected) + 0.0 * state.h)

    cell: Any = Plain(3, 4).double()
    found = []
    for backend in ("fused", "reference"):
        x = torch.full((1, 1, 3), value, dtype=torch.float64, requires_grad=True)
        outputs, _ = scan(cell, x, cell.initial_state(1), backend=backend)
        (d_x,) = torch.autograd.grad(outputs.sum(), x)
        found.append((outputs, d_x if value == value else outputs))  # a gradient at NaN means nothing
    torch.testing.assert_close(*found, rtol=1e-7, atol=1e-7, equal_nan=True)
