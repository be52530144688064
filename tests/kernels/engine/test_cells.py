"""Whole cells: every one of ours and of a researcher's file is traced; what cannot be traced gives its reason."""

import re
from collections.abc import Callable
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support import outside
from support.kinds import CLASSES, KINDS_WITH_ACTIVATIONS
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells import make_cell
from rnncli.cells.base import Cell, Hidden
from rnncli.kernels.engine import facts
from rnncli.kernels.fused import FusedForm, fused_form, trouble
from rnncli.kernels.scan import scan

pytestmark = [
    pytest.mark.usefixtures("plain_loops"),
    pytest.mark.skipif(bool(trouble()), reason="waits for numba"),
]


class Positive(Cell[outside.Memory]):
    """A memory cell that is positive from its first value on, and whose logarithm is seen."""

    State, gates = outside.Memory, 2

    def init_parameter(self, name: str, parameter: Tensor) -> None:
        super().init_parameter(name, parameter)
        if name == "c0":
            nn.init.ones_(parameter)

    def step(self, projected: Tensor, state: outside.Memory) -> outside.Memory:
        a, b = (projected + F.linear(state.h, self.weight_h)).chunk(2, -1)
        c = torch.exp(torch.maximum(a, state.c.log())) + state.c.sqrt()
        return outside.Memory(torch.tanh(b) / c, c)


OUTSIDE = [
    *(outside.Deep, outside.CoupledLSTM, outside.MultiplicativeRNN, outside.Normalised, outside.ProjectedLSTM),
    Positive,
]


@pytest.mark.parametrize(("kind", "activation"), KINDS_WITH_ACTIVATIONS)
def test_every_registered_cell_is_traced(kind: str, activation: str) -> None:
    variant = kind.partition(":")[2]
    assert isinstance(fused_form(CLASSES[kind](3, 4, variant=variant or None, activation=activation)), FusedForm)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("Mine", OUTSIDE)
def test_outside_cells_equal_the_plain_loop(
    Mine: Any, padded: bool, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("SMALL", "SMALL_AND_SHORT"):
        monkeypatch.setattr(f"rnncli.kernels.engine.scan.{limit}", 10**9 if small else 0)
    torch.manual_seed(0)
    cell = Mine(3, 4).double()
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    lengths = torch.tensor([5, 1, 3]) if padded else None
    found = []
    for backend in ("fused", "reference"):
        cell.zero_grad()
        inputs = x.clone().requires_grad_()
        outputs, state = scan(cell, inputs, cell.initial_state(3), lengths, backend)
        (outputs.square().sum() + sum(part.sin().sum() for part in state)).backward()
        found.append([outputs, *state, inputs.grad, *(parameter.grad for parameter in cell.parameters())])
    for ours, wanted in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "threads"), [("mingru", 1), ("mingru", 2), ("mingru", 3), ("sru", 2)])
def test_threads_share_the_sequences_of_a_cell_without_matmuls(
    kind: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one whose inputs are projected by its own code."""
    from rnncli.kernels.engine.scan import Memory

    streamed: list[object] = []
    stream = Memory.stream
    monkeypatch.setattr(Memory, "stream", lambda memory, name: (streamed.append(name), stream(memory, name))[1])
    monkeypatch.setattr("rnncli.kernels.engine.scan.SMALL", 50)
    monkeypatch.setattr("rnncli.kernels.engine.scan.STREAMED", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    torch.manual_seed(0)
    cell: Any = make_cell(kind, 4, 4)
    x, lengths, found = torch.randn(6, 5, 4), torch.tensor([6, 1, 3, 6, 2]), []
    for backend in ("fused", "reference"):
        inputs = x.clone().requires_grad_()
        outputs, state = scan(cell, inputs, cell.initial_state(5), lengths, backend)
        wanted = [inputs, *(each for each in cell.parameters() if each.requires_grad)]
        found.append([outputs, *torch.autograd.grad(outputs.square().sum() + state.h.sum(), wanted)])
    torch.testing.assert_close(*found)
    assert len(streamed) == 2


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_cell_may_be_traced_first_where_no_gradients_are_recorded(mode: Callable[[], Any]) -> None:
    cell: Any = outside.Deep(3, 4)
    x, before = torch.randn(5, 2, 3), torch.get_rng_state()
    with mode():
        found, _ = scan(cell, x, cell.initial_state(2), backend="fused")
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(found, scan(cell, x, cell.initial_state(2), backend="reference")[0])


def test_cell_without_values_is_traced() -> None:
    """As while a checkpoint's model is outlined on the meta device, for a run with `--backend fused`."""
    with torch.device("meta"):
        cell: Any = outside.Deep(5, 7)
        assert not isinstance(fused_form(cell), str)


class Changing(Cell[Hidden]):
    scale = 1.0

    def add_parameters(self) -> None:
        super().add_parameters()
        self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 4)
        self.register_buffer("gain", torch.ones(4))
        self.factor, self.table, self.row = 1.0, {"factor": [1.0]}, np.ones(4)
        self.function: Callable[[Tensor], Tensor] = lambda z: z
        self.options = SimpleNamespace(factor=1.0)

    def step(self, projected: Tensor, state: Hidden) -> Hidden:
        scale = self.scale * self.factor * self.table["factor"][0] * float(self.row[2]) * self.options.factor
        return Hidden(torch.tanh(self.function(projected) * scale + self.outer(self.inner(state.h)) * self.gain))


def scaled(factor: float) -> Callable[[Tensor], Tensor]:
    return lambda z: z * factor


CHANGES: dict[str, Callable[[Any], Any]] = {
    "a number": lambda cell: setattr(cell, "factor", 0.5),
    "a number in a list in a table": lambda cell: cell.table["factor"].__setitem__(0, 0.5),
    "a number in an array": lambda cell: cell.row.__setitem__(2, 0.5),
    "a number in an object": lambda cell: setattr(cell.options, "factor", 0.5),
    "a function": lambda cell: setattr(cell, "function", scaled(0.5)),
    "a buffer's shape": lambda cell: setattr(cell, "gain", torch.tensor(0.5)),
    "two weights that are the same": lambda cell: setattr(cell.outer, "weight", cell.inner.weight),
    "a hook": lambda cell: cell.inner.register_forward_hook(lambda module, given, made: made * 3),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_cells_are_traced_again(name: str) -> None:
    torch.manual_seed(0)
    cell, other, x = Changing(3, 4), Changing(3, 4), torch.randn(5, 2, 3)

    def check(each: Any) -> Tensor:
        found, wanted = (scan(each, x, each.initial_state(2), backend=name)[0] for name in ("fused", "reference"))
        torch.testing.assert_close(found, wanted)
        return torch.as_tensor(wanted)

    before = check(cell)
    CHANGES[name](cell)
    assert not torch.equal(check(cell), before)
    check(other)  # which has nothing of the change


def test_changed_classes_are_traced_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, x = Changing(3, 4), torch.randn(5, 2, 3)
    for scale in (1.0, 0.5):
        monkeypatch.setattr(Changing, "scale", scale)
        found, wanted = (scan(cell, x, cell.initial_state(2), backend=name)[0] for name in ("fused", "reference"))
        torch.testing.assert_close(found, wanted)


calls = [0]


def test_threads_trace_a_cell_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, built, found = outside.Deep(3, 4), [], []
    second = Thread(target=lambda: found.append(fused_form(cell)))

    def slow(each: Any) -> str:
        if not built:
            second.start()
        built.append(each)
        second.join(0.1)  # the second thread must wait
        return "no form"

    monkeypatch.setattr("rnncli.kernels.engine.build.build", slow)
    found.append(fused_form(cell))
    second.join()
    assert (found, built) == (["no form", "no form"], [cell])


def counts(cell: Any, a: Tensor, h: Tensor) -> Tensor:
    calls[0] += 1
    return torch.tanh(a + h) * calls[0]


def remembers(cell: Any, a: Tensor, h: Tensor) -> Tensor:
    cell.seen = a
    return torch.tanh(a + h)


def counts_in_a_list(cell: Any, a: Tensor, h: Tensor) -> Tensor:
    cell.kept.append(1)
    return torch.tanh(a + h)


def changes_a_buffer(cell: Any, a: Tensor, h: Tensor) -> Tensor:
    cell.gain = cell.gain * 0.5
    return torch.tanh(a + h) * cell.gain


def assigns(cell: Any, a: Tensor, h: Tensor) -> Tensor:
    made = torch.zeros_like(a)
    made[:, :2] = h[:, :2]
    return made + a


TRAPS: dict[str, tuple[Callable[[Any, Tensor, Tensor], Tensor], str]] = {
    "a counter outside": (counts, "two calls of step compute different operations"),
    "an attribute": (remembers, r"step changes the cell's attributes \(seen\)"),
    "a list": (counts_in_a_list, r"step changes the cell's attributes \(kept\)"),
    "a buffer": (changes_a_buffer, r"step changes the cell's attributes \(gain\)"),
    "a branch on data": (lambda c, a, h: a if h.sum() > 0 else h, r"step reduces over the batch \(test_cells.py, line"),
    "a value as a number": (
        lambda c, a, h: a + h * float(c.bias[0]),
        r"step reads a tensor's value, so that it may branch on data \(test_cells.py, line \d+\)",
    ),
    "values as a list": (
        lambda c, a, h: a if h.tolist()[0][0] > -99 else h,
        r"step reads a tensor's value, so that it may branch on data \(test_cells.py, line \d+\)",
    ),
    "values as an array": (
        lambda c, a, h: a if h.detach().numpy()[0, 0] > -99 else h,
        r"step reads a tensor's value, so that it may branch on data \(test_cells.py, line \d+\)",
    ),
    "a root of negative numbers": (
        lambda c, a, h: a.sqrt() + h,
        "step cannot be checked: field 0 of the new state is NaN for random numbers",
    ),
    "dropout": (lambda c, a, h: F.dropout(a + h, 0.5), r"bernoulli is random \(test_cells.py, line \d+\)"),
    "noise": (lambda c, a, h: a + torch.randn_like(h), r"randn_like is random \(test_cells.py, line \d+\)"),
    "a mean of the batch": (lambda c, a, h: a + h.mean(0), r"step reduces over the batch \(test_cells.py, line \d+\)"),
    "another sequence": (lambda c, a, h: a + h.flip(0), r"step mixes the sequences of the batch \(test_cells.py, line"),
    "the batch's size": (lambda c, a, h: (a + h) / len(a), "step computes different operations for different batches"),
    "one sequence": (lambda c, a, h: a if len(a) == 1 else h, "step computes different operations for different"),
    "a large batch": (lambda c, a, h: a if len(a) > 8 else h, "step computes different operations for different"),
    "a changed state": (
        lambda c, a, h: a + h.mul_(0.5),
        "mul_ changes the state, or a tensor that is in use",
    ),
    "an unknown operation": (
        lambda c, a, h: torch.fft.fft(a + h).real,
        r"the engine has no rule for _fft_r2c \(test_cells.py, line \d+\)",
    ),
    "rounding": (lambda c, a, h: a + h.round(), r"step rounds a value \(test_cells.py, line \d+\)"),
    "a part assigned": (
        assigns,
        r"step assigns to part of a tensor: torch.cat and torch.where make a new one \(test_cells.py, line \d+\)",
    ),
    "the place of a maximum": (
        lambda c, a, h: a + h * a.max(1, keepdim=True).indices,
        r"the engine has no rule for a result of max in use here \(test_cells.py, line \d+\)",
    ),
    "a product of states": (
        lambda c, a, h: (a[:, None, :] @ h[:, :, None])[:, 0] + a,
        "step multiplies two matrices that both depend on the state",
    ),
    "an error": (lambda c, a, h: a.nonsense(), "step fails in double precision: AttributeError: "),
}


@pytest.mark.parametrize("name", TRAPS)
def test_traps_are_refused_with_their_reason(name: str) -> None:
    function, reason = TRAPS[name]

    class Trap(Cell[Hidden]):
        def add_parameters(self) -> None:
            super().add_parameters()
            self.kept: list[int] = []
            self.register_buffer("gain", torch.ones(4))

        def step(self, projected: Tensor, state: Hidden) -> Hidden:
            return Hidden(function(self, projected, state.h))

    found: Any = fused_form(Trap(3, 4))
    assert re.match(reason, found), found
    assert "\n" not in found


def test_code_of_a_cell_is_printed(rnn: Callable[[str], Any]) -> None:
    shown = rnn("inspect --cell lstm:none --code")
    assert (shown.code, shown.err) == (0, "")
    assert "def forward_0(" in shown.out
    assert "def backward(" in shown.out
    file = outside.__file__
    refused = rnn(f"inspect --cell {file}:Branching --code")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "there are no loops for Branching: step may branch on data: any (outside.py, line " in refused.err


def test_training_says_why_a_cell_runs_step_by_step(rnn: Callable[[str], Any], home: Any) -> None:
    ran = rnn(f"train parity --cell {outside.__file__}:Counting --bits 3 --hidden 2 --epochs 1")
    assert "the cell runs step by step, slowly: step changes the cell's attributes (" in ran.err


factor, vector = 1.0, torch.ones(4)


def scaled_outside(value: Tensor) -> Tensor:
    return value * factor


def bounded(limit: float) -> tuple[Any, Callable[[float], None]]:
    """A class whose step names a variable around it, and a function that sets the variable."""

    class Bounded(Cell[Hidden]):
        @property
        def scaled_vector(self) -> Tensor:
            return vector * 1.0

        def step(self, projected: Tensor, state: Hidden) -> Hidden:
            h = projected + F.linear(state.h, self.weight_h) * self.scaled_vector
            return Hidden(scaled_outside(h).clamp(-limit, limit))

    def change(value: float) -> None:
        nonlocal limit
        limit = value

    return Bounded, change


@pytest.mark.parametrize("name", ["a global number", "a global tensor", "a global tensor in place", "a variable"])
def test_values_outside_are_read_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("factor", "vector"):
        monkeypatch.setattr(f"{__name__}.{each}", globals()[each] * 1.0)
    torch.manual_seed(0)
    Bounded, change = bounded(0.9)
    cell, x = Bounded(3, 4), torch.randn(5, 2, 3)
    with torch.no_grad():
        cell.h0.fill_(0.5)
    changes: dict[str, Callable[[], object]] = {
        "a global number": lambda: monkeypatch.setattr(f"{__name__}.factor", 0.5),
        "a global tensor": lambda: monkeypatch.setattr(f"{__name__}.vector", torch.full((4,), 0.5)),
        "a global tensor in place": lambda: vector.mul_(0.5),
        "a variable": lambda: change(0.3),
    }

    def check() -> Tensor:
        found, wanted = (scan(cell, x, cell.initial_state(2), backend=name)[0] for name in ("fused", "reference"))
        torch.testing.assert_close(found, wanted)
        return torch.as_tensor(wanted)

    before = check()
    changes[name]()
    assert not torch.equal(check(), before)


def test_a_global_tensor_may_be_of_inference_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.inference_mode():
        monkeypatch.setattr(f"{__name__}.vector", torch.full((4,), 0.25))
    cell: Any = bounded(0.8)[0](3, 4)
    with torch.no_grad():
        assert scan(cell, torch.randn(5, 2, 3), cell.initial_state(2), backend="fused")[0].shape == (5, 2, 4)


@pytest.mark.parametrize("module", ["abc_cells", "typings", "torchcells.gru", "rnncli.cells.base2"])
def test_a_users_module_may_have_a_name_that_begins_as_ours(module: str) -> None:
    assert facts.is_own(module)
    assert not any(map(facts.is_own, ("abc", "typing", "torch", "torch.nn.modules.linear", "rnncli.cells.base")))


def test_few_kinds_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    from rnncli.kernels.engine import build

    monkeypatch.setattr(build, "MOST", 3)
    built: list[float] = []
    monkeypatch.setattr(build, "build", lambda cell: built.append(cell.factor) or "no form")
    cell: Any = Changing(3, 4)
    for factor in (1, 2, 3, 1, 4, 1, 2):  # 4 takes the place of 2, which was used longest ago
        cell.factor = float(factor)
        assert fused_form(cell) == "no form"
        assert len(build._KNOWN) <= 3
    assert built == [1, 2, 3, 4, 2]
