"""Cells with the equations of torch's layers, written in other ways, run as those layers; cells with others do not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from support import outside
from support.kinds import CLASSES, KINDS_WITH_ACTIVATIONS, OF_TORCH
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells.base import Cell, Hidden
from rnncli.cells.lnlstm import LayerNormLSTM
from rnncli.cells.lstm import LSTM
from rnncli.cells.mgu import MGU
from rnncli.cells.mlstm import MultiplicativeLSTM
from rnncli.kernels.engine.build import torch_layer
from rnncli.kernels.scan import choose_backend, scan
from rnncli.kernels.torch_layers import TorchForm, torch_form

T, B, D, M = 6, 3, 3, 4
LENGTHS = torch.tensor([6, 1, 4])


class ShuffledLSTM(Cell[outside.Memory]):
    """An LSTM with its gates in the order (o, f, g, i), sums in another order, and 1 added to f."""

    State, gates = outside.Memory, 4

    def step(self, projected: Tensor, state: outside.Memory) -> outside.Memory:
        o, f, g, i = (state.h @ self.weight_h.T + projected).chunk(4, -1)
        c = torch.tanh(g) * torch.sigmoid(i) + state.c * torch.sigmoid(f + 1.0)
        return outside.Memory(c.tanh() * o.sigmoid(), c)


class NamedLSTM(Cell[outside.Memory]):
    """An LSTM with a layer for each gate, each with its own bias, and the input gate negated."""

    State = outside.Memory

    def add_parameters(self) -> None:
        D, M = self.input_size, self.hidden_size
        self.inputs = nn.ModuleList(nn.Linear(D, M, bias=gate != 2) for gate in range(4))
        self.states = nn.ModuleList(nn.Linear(M, M) for _ in range(4))

    def project(self, x: Tensor) -> Tensor:
        return torch.cat([layer(x) for layer in self.inputs], -1)

    def step(self, projected: Tensor, state: outside.Memory) -> outside.Memory:
        sums = [a + layer(state.h) for a, layer in zip(projected.chunk(4, -1), self.states, strict=True)]
        c = torch.sigmoid(sums[1]) * state.c + torch.sigmoid(-sums[0]) * torch.tanh(sums[2])
        return outside.Memory(torch.sigmoid(sums[3]) * torch.tanh(c), c)


class InterleavedLSTM(Cell[outside.Memory]):
    """An LSTM whose weights have the four gates of a unit next to each other, and no bias."""

    State = outside.Memory

    def add_parameters(self) -> None:
        self.weight_x = nn.Parameter(torch.empty(self.input_size, 4 * self.hidden_size))
        self.weight_h = nn.Parameter(torch.empty(self.hidden_size, 4 * self.hidden_size))

    def project(self, x: Tensor) -> Tensor:
        return x @ self.weight_x

    def step(self, projected: Tensor, state: outside.Memory) -> outside.Memory:
        i, f, g, o = (projected + state.h @ self.weight_h).view(len(projected), -1, 4).unbind(-1)
        c = f.sigmoid() * state.c + i.sigmoid() * g.tanh()
        return outside.Memory(o.sigmoid() * c.tanh(), c)


class TorchsGRU(Cell[Hidden]):
    """A GRU with torch's z, its weights in the order (z, r, n) and one bias for all gates of h."""

    gates = 3

    def add_parameters(self) -> None:
        super().add_parameters()
        self.bias_h = nn.Parameter(torch.empty(3 * self.hidden_size))

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        a, b = projected.chunk(3, -1), F.linear(state.h, self.weight_h, self.bias_h).chunk(3, -1)
        z, r = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
        n = torch.tanh(a[2] + r * b[2])
        return Hidden(n + z * (state.h - n))


class SharedGRU(TorchsGRU):
    """The same with our z, and its blend written out; z has one bias for all units."""

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        a, b = projected.chunk(3, -1), F.linear(state.h, self.weight_h).chunk(3, -1)
        z, r = torch.sigmoid(a[0] + b[0] + self.bias_h[:1]), torch.sigmoid(a[1] + b[1])
        n = torch.tanh(r * b[2] + r * self.bias_h[-M:] + a[2])
        return Hidden((1 - z) * state.h + z * n)


class LowRank(Cell[Hidden]):
    """A rectified Elman unit whose recurrent matrix is a product of two."""

    recurrent = ("left", "right")

    def add_parameters(self) -> None:
        super().add_parameters()
        self.left, self.right = nn.Parameter(torch.empty(M, 2)), nn.Parameter(torch.empty(2, M))

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(F.relu(projected - state.h @ (self.left @ self.right)))


SAME: dict[Any, Callable[..., Any]] = {
    ShuffledLSTM: torch.lstm,
    NamedLSTM: torch.lstm,
    InterleavedLSTM: torch.lstm,
    TorchsGRU: torch.gru,
    SharedGRU: torch.gru,
    LowRank: torch.rnn_relu,
}
"""Cells, and the functions of torch with their equations."""


def made(Mine: Any) -> Any:
    torch.manual_seed(0)
    cell = Mine(D, M)
    for parameter in cell.parameters():
        nn.init.normal_(parameter, 0, 0.7)
    return cell.double()


def results(cell: Any, backend: str, lengths: Tensor | None) -> list[Tensor]:
    """The outputs, the last state, and all gradients."""
    x = torch.randn(T, B, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    cell.zero_grad()
    outputs, state = scan(cell, x, cell.initial_state(B), lengths, backend)
    (outputs.square().sum() + sum(part.sin().sum() for part in state)).backward()
    return [outputs, *state, x.grad, *(parameter.grad for parameter in cell.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "padded"])
@pytest.mark.parametrize("Mine", SAME)
def test_cell_with_torchs_equations_runs_as_torchs_layer(Mine: Any, lengths: Tensor | None) -> None:
    cell = made(Mine)
    form = torch_form(cell)
    assert isinstance(form, TorchForm), form
    assert form.function is SAME[Mine]
    for found, wanted in zip(*(results(cell, name, lengths) for name in ("torch", "reference")), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


def test_weights_are_in_torchs_order() -> None:
    """By hand, in the layers themselves."""
    lstm, gru, x = made(ShuffledLSTM), made(TorchsGRU), torch.randn(T, B, D, dtype=torch.float64)
    layers: list[Any] = [nn.LSTM(D, M), nn.GRU(D, M)]
    for cell, layer, order in ((lstm, layers[0].double(), (3, 1, 2, 0)), (gru, layers[1].double(), (1, 0, 2))):

        def sorted_gates(value: Tensor, order: tuple[int, ...] = order) -> Tensor:
            return torch.cat([value.detach().split(M)[gate] for gate in order])

        with torch.no_grad():
            layer.weight_ih_l0.copy_(sorted_gates(cell.weight_x))
            layer.weight_hh_l0.copy_(sorted_gates(cell.weight_h))
            layer.bias_ih_l0.copy_(sorted_gates(cell.bias))
            layer.bias_hh_l0.zero_()
            if cell is lstm:
                layer.bias_hh_l0[M : 2 * M] = 1.0
            else:
                layer.bias_hh_l0.copy_(sorted_gates(cell.bias_h))
        start = tuple(value[None].contiguous() for value in cell.initial_state(B))
        wanted, _ = layer(x, start if cell is lstm else start[0])
        torch.testing.assert_close(scan(cell, x, cell.initial_state(B), backend="torch")[0], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "activation"), KINDS_WITH_ACTIVATIONS)
def test_torch_has_these_of_the_registered_cells(kind: str, activation: str) -> None:
    for units in (1, M):
        cell = CLASSES[kind](D, units, variant=kind.partition(":")[2] or None, activation=activation)
        has_layer = kind in OF_TORCH and (activation == "tanh" or (kind, activation) == ("elman", "relu"))
        assert isinstance(torch_form(cell), TorchForm) == has_layer


class Detached(Cell[Hidden]):
    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(torch.tanh(projected + F.linear(state.h.detach(), self.weight_h)))


class WithoutState(Cell[Hidden]):
    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(torch.tanh(projected + self.bias))


class Independent(Cell[Hidden]):
    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(F.relu(projected + self.bias * state.h))


class Squared(Cell[Hidden]):
    def project(self, x: Tensor) -> Tensor:
        return F.linear(x * x, self.weight_x)

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        return Hidden(torch.tanh(projected + F.linear(state.h, self.weight_h)))


class Shifted(Cell[Hidden]):
    """An Elman unit with a constant vector, which a trace knows on the CPU only."""

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        shift = torch.arange(projected.shape[1]).to(projected)
        return Hidden(torch.tanh(projected + F.linear(state.h, self.weight_h) + shift))


class SwappedGRU(TorchsGRU):
    """Resets the input in place of the state."""

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        a, b = projected.chunk(3, -1), F.linear(state.h, self.weight_h).chunk(3, -1)
        z, r = torch.sigmoid(a[0] + b[0]), torch.sigmoid(a[1] + b[1])
        return Hidden(torch.lerp(torch.tanh(r * a[2] + b[2]), state.h, z))


class OwnStep(LSTM):
    """A subclass that forgets nothing."""

    def step(self, projected: Tensor, state: Any) -> Any:
        i, _, g, o = (projected + F.linear(state.h, self.weight_h)).chunk(4, -1)
        c = state.c + i.sigmoid() * g.tanh()
        return type(state)(o.sigmoid() * c.tanh(), c)


OTHERS: list[Any] = [
    *(outside.Deep, outside.CoupledLSTM, outside.MultiplicativeRNN, outside.Normalised, outside.ProjectedLSTM),
    *(MGU, MultiplicativeLSTM, LayerNormLSTM),
    *(Detached, WithoutState, Independent, Squared, SwappedGRU),
]


@pytest.mark.parametrize("Other", OTHERS)
def test_other_equations_have_no_layer(Other: Any) -> None:
    assert torch_form(Other(D, M)) == torch_form(Other(D, 1)) == "torch has no layer with its equations"


def test_step_of_a_subclass_counts() -> None:
    assert torch_form(OwnStep(D, M, variant="none")) == "torch has no layer with its equations"


def test_tensor_that_the_step_makes_is_no_weight() -> None:
    assert torch_form(Shifted(D, M)) == "torch has no layer with its equations"


def test_untraceable_step_gives_its_reason() -> None:
    assert "step may branch on data" in str(torch_layer(outside.Branching(D, M)))


class Dropped(NamedTuple):
    outputs: Tensor
    weight: Tensor


def test_layer_has_the_weights_that_weight_drop_leaves() -> None:
    found = []
    for backend in ("torch", "reference"):
        cell = made(ShuffledLSTM)
        torch.manual_seed(5)
        dropped = cell.with_weight_drop(0.5)
        outputs, _ = scan(dropped, torch.ones(T, B, D, dtype=torch.float64), dropped.initial_state(B), backend=backend)
        outputs.sum().backward()
        found.append(Dropped(outputs, cell.weight_h.grad))
        assert (cell.weight_h.grad == 0).any()
    torch.testing.assert_close(*found, rtol=0, atol=1e-11)


def test_cell_may_be_matched_first_under_autocast() -> None:
    class Fresh(ShuffledLSTM):
        pass

    cell: Any = Fresh(D, M)
    with torch.autocast("cpu", torch.bfloat16):
        assert choose_backend(cell, "torch") == "torch"
        outputs, _ = scan(cell, torch.randn(T, B, D), cell.initial_state(B), backend="torch")
    assert outputs.dtype == torch.float32


class Masked(Cell[Hidden]):
    """An Elman unit whose recurrent matrix is lower triangular, by a mask of another type."""

    def add_parameters(self) -> None:
        super().add_parameters()
        self.register_buffer("mask", torch.ones(self.hidden_size, self.hidden_size, dtype=torch.bool).tril())

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        weight = self.weight_h * self.get_buffer("mask").to(projected.dtype)
        return Hidden(torch.tanh(projected + F.linear(state.h, weight)))


def test_masks_of_another_type_keep_the_type_of_the_cell() -> None:
    cell, x = Masked(D, M), torch.randn(T, B, D)
    found, wanted = (scan(cell, x, cell.initial_state(B), backend=name)[0] for name in ("torch", "reference"))
    torch.testing.assert_close(found, wanted)
