"""Checks of a cell for its author's tests: `check_cell(MGU)`. `rnn check-cell` prints the same checks as a table.

Shapes: T steps, B batch, D input, M hidden. Computes in float64 unless a check names another type.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rnncli.cells import make_cell, use_cell
from rnncli.cells.base import Cell
from rnncli.cells.trial import check_steps
from rnncli.errors import UsageError
from rnncli.kernels import BACKENDS
from rnncli.kernels.scan import choose_backend, padding_mask, reverse_valid, scan
from rnncli.models.stack import Stack, StackShape

T, B, D = 7, 4, 3
LENGTHS = torch.tensor([7, 1, 4, 6])
FILLERS = (0.0, -3.5, float("inf"), float("nan"))
"""Values of padding, which no result may depend on."""

Weights = Mapping[str, np.ndarray]
Equations = Callable[[np.ndarray, tuple[np.ndarray, ...], Weights], tuple[np.ndarray, ...]]
"""A step in numpy: x (B, D), the state's fields, the weights by name -> the new state's fields."""


class Check(NamedTuple):
    """The result of a check: `detail` names the compared values, or the fault."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Subject:
    """The cell to check: its name for settings, its activation, and its M."""

    kind: str
    activation: str | None = None
    hidden: int = 4

    def cell(self, dtype: torch.dtype = torch.float64) -> Any:
        """Build it; the same random values are added to its first weights each time."""
        with torch.random.fork_rng([]):
            torch.manual_seed(1)
            cell = make_cell(self.kind, D, self.hidden, activation=self.activation).to(dtype)
            with torch.no_grad():
                for parameter in cell.parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=0.5)
        return cell

    @property
    def backends(self) -> list[str]:
        """Every backend that can run it on a CPU, the step loop first."""
        return backends_of(self.cell())


def subject(
    cell: str | type[Cell[Any]], *, variant: str = "", activation: str | None = None, hidden: int = 4
) -> Subject:
    """Name the cell to check, by its class or as `--cell` does; raises UsageError for one that cannot be built."""
    kind = use_cell(cell)
    found = Subject(f"{kind}:{variant}" if variant else kind, activation, hidden)
    found.cell()
    return found


def check_cell(
    cell: str | type[Cell[Any]],
    equations: Equations | None = None,
    *,
    variant: str = "",
    activation: str | None = None,
    hidden: int = 4,
) -> None:
    """Check a cell of `hidden` units, and compare it with a step in numpy if that is given.

    Raises AssertionError with a line for each check that fails, UsageError for a cell that cannot be built.
    """
    found = subject(cell, variant=variant, activation=activation, hidden=hidden)
    failed = [f"{check.name}: {check.detail}" for check in examine(found) if not check.passed]
    assert not failed, "\n".join(failed)
    if equations is not None:
        check_equations(found, equations)


def examine(cell: Subject) -> Iterator[Check]:
    """Run all checks, one after another."""
    for name, check in CHECKS.items():
        try:
            yield Check(name, True, check(cell))
        except AssertionError as error:
            yield Check(name, False, str(error))
        except (ArithmeticError, IndexError, TypeError, ValueError, RuntimeError, UsageError) as error:
            yield Check(name, False, f"{type(error).__name__}: {' '.join(str(error).split())}")


def check_shapes(of: Subject) -> str:
    """The state has its type and sizes, and `project` treats each of any number of steps independently."""
    cell, x = of.cell(), _inputs()
    check_steps(cell)
    projected = cell.project(x)
    for t in range(T):
        _same("project of one step and of all steps", cell.project(x[t]), projected[t])
    sizes = ", ".join(f"{name} {size}" for name, size in cell.state_sizes.items())
    return f"state: {sizes}; project: {D} to {' x '.join(map(str, projected.shape[2:]))}"


def check_state(of: Subject) -> str:
    """All memory is in the state, nothing is random, and no sequence of a batch depends on another one."""
    cell, x = of.cell(), _inputs()
    whole, last = scan(cell, x, cell.initial_state(B), backend="reference")
    _same("two runs over the same input", scan(cell, x, cell.initial_state(B), backend="reference")[0], whole)
    first, state = scan(cell, x[:3], cell.initial_state(B), backend="reference")
    second, end = scan(cell, x[3:], state, backend="reference")
    _same("a sequence read at once and in two parts", torch.cat([first, second]), whole)
    for field, ours, theirs in zip(cell.state_fields, end, last, strict=True):
        _same(f"{field} at their ends", ours, theirs)
    for row in range(B):
        alone, _ = scan(cell, x[:, row : row + 1], cell.initial_state(1), backend="reference")
        _same("a sequence by itself and in a batch", alone[:, 0], whole[:, row])
    return "runs, parts of a sequence and rows of a batch agree"


def check_gradients(of: Subject) -> str:
    """The gradients of inputs, weights and first state agree with finite differences, also past a sequence's end."""
    cell = of.cell()
    names = [name for name, _ in cell.named_parameters()]
    lengths = torch.tensor([4, 2])

    def run(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        held = {f"cell.{name}": weight for name, weight in zip(names, weights, strict=True)}
        found: tuple[Tensor, ...] = torch.func.functional_call(_Unrolled(cell), held, (x, lengths))
        return found

    weights = [value.detach().requires_grad_() for value in cell.parameters()]
    x = _inputs()[:4, :2].clone().requires_grad_()
    try:
        torch.autograd.gradcheck(run, (x, *weights))
    except RuntimeError as error:  # gradcheck's message has many lines
        raise AssertionError(f"they differ from finite differences: {str(error).splitlines()[0]}") from None
    return f"{sum(weight.numel() for weight in weights)} weights and the inputs agree with finite differences"


class _Unrolled(nn.Module):
    """A cell scanned from its own first state, so that the first state's gradient is checked too."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        outputs, state = scan(self.cell, x, self.cell.initial_state(x.shape[1]), lengths, "reference")
        return (outputs, *state)


def check_padding(of: Subject) -> str:
    """On every backend padding changes no bit, in float32, and the state stays as it is past a sequence's end."""
    for backend in of.backends:
        single, x = of.cell(torch.float32), _inputs().float()
        clean = _results(single, x, LENGTHS, backend)
        for filler in FILLERS:
            padded = x.masked_fill(padding_mask(T, LENGTHS)[:, :, None], filler)
            found = _results(single, padded, LENGTHS, backend)
            assert all(map(torch.equal, found, clean)), f"{backend}: padding of {filler} changes values or gradients"
        cell, x = of.cell(), _inputs()
        outputs, state = scan(cell, x, cell.initial_state(B), LENGTHS, backend)
        for row, length in enumerate(LENGTHS.tolist()):
            alone, last = scan(cell, x[:length, row : row + 1], cell.initial_state(1), backend=backend)
            _same(f"{backend}: a padded sequence and itself", outputs[:length, row], alone[:, 0])
            _same(f"{backend}: outputs past the end", outputs[length:, row], alone[-1].expand(T - length, -1))
            for field, ours, theirs in zip(cell.state_fields, state, last, strict=True):
                _same(f"{backend}: {field} past the end", ours[row], theirs[0])
    return f"padding changes no bit ({', '.join(of.backends)})"


def check_directions(of: Subject) -> str:
    """A stack of both directions reads each sequence forwards, and backwards from its own last step."""
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        shape = StackShape(of.kind, (of.hidden,), of.activation, bidirectional=True)
        stack, x = Stack(D, shape).double(), _inputs()
    found, _ = stack(x, lengths=LENGTHS)
    cells: Any = stack.cells
    forward, backward = cells
    wanted, _ = scan(forward, x, forward.initial_state(B), LENGTHS, "reference")
    mirrored, _ = scan(backward, reverse_valid(x, LENGTHS), backward.initial_state(B), LENGTHS, "reference")
    _same("both directions and each by itself", found, torch.cat([wanted, reverse_valid(mirrored, LENGTHS)], -1))
    return "a stack of both reads each sequence from either end"


def check_backends(of: Subject) -> str:
    """Every backend has the values and gradients of the step loop, with sequences of one length and of several."""
    cell, x = of.cell(), _inputs()
    for lengths in (None, LENGTHS):
        wanted = _results(cell, x, lengths, "reference")
        for backend in of.backends[1:]:
            for ours, theirs in zip(_results(cell, x, lengths, backend), wanted, strict=True):
                _same(f"{backend} and the step loop", ours, theirs, tolerance=1e-10)
    others = ", ".join(of.backends[1:])
    return f"{others}: values and gradients of the step loop" if others else "only the step loop runs it"


CHECKS: Mapping[str, Callable[[Subject], str]] = {
    "shapes": check_shapes,
    "state": check_state,
    "gradients": check_gradients,
    "padding": check_padding,
    "directions": check_directions,
    "backends": check_backends,
}
"""Each returns a description of its result, and raises AssertionError if the result is wrong."""


def check_equations(of: Subject, equations: Equations) -> None:
    """Compare the cell with its equations in numpy; raises AssertionError where an output or the last state differs."""
    cell, x = of.cell(), _inputs()
    weights = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    state = tuple(np.tile(weights[f"{field}0"], (B, 1)) for field in cell.state_fields)
    wanted = []
    for x_t in x.numpy():
        state = equations(x_t, state, weights)
        wanted.append(state[0])
    outputs, last = scan(cell, x, cell.initial_state(B), backend="reference")
    _same("the cell and its equations", outputs, torch.from_numpy(np.stack(wanted)))
    for field, ours, theirs in zip(cell.state_fields, last, state, strict=True):
        _same(f"{field} at their ends", ours, torch.from_numpy(theirs))


def backends_of(cell: Any, device: str = "cpu") -> list[str]:
    """Every backend that can run a cell, the step loop first."""
    found = []
    for backend in BACKENDS[1:]:
        with suppress(UsageError):
            found.append(choose_backend(cell, backend, device, next(cell.parameters()).dtype))
    return found


def describe(cell: Any) -> str:
    """The backend that `auto` takes for a cell on a CPU, and why it is not a faster one."""
    taken = choose_backend(cell)
    if taken != "reference":
        return taken
    try:
        choose_backend(cell, "fused")
    except UsageError as error:
        return f"reference, the step loop: {str(error).partition(';')[0]}"
    return "reference, the step loop"


def milliseconds(kind: str, hidden: int, rounds: int) -> dict[str, float]:
    """Forward and backward of a layer, T35 B20 D=M: medians of `auto`, of the step loop, and of torch's nearest layer.

    The nearest one of torch's three recurrent layers is that with the most similar number of weights.
    """
    from rnncli.analysis.bench import Row, measure
    from rnncli.analysis.bench_cells import RIVALS, Shape, of_cell, of_layer

    shape = Shape(35, 20, hidden, hidden)
    count = _weights(make_cell(kind, hidden, hidden))
    Layer = min(RIVALS.values(), key=lambda each: abs(math.log(_weights(each(hidden, hidden)) / count)))
    contenders = {
        "auto": lambda: of_cell(kind, shape),
        "step loop": lambda: of_cell(kind, shape, "reference"),
        f"torch.nn.{Layer.__name__}": lambda: of_layer(Layer, shape),
    }
    (measured,) = measure([Row(kind, str(shape), contenders)], rounds)
    return dict(measured.milliseconds)


def _weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _inputs() -> Tensor:
    return torch.randn(T, B, D, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def _results(cell: Any, x: Tensor, lengths: Tensor | None, backend: str) -> list[Tensor]:
    """The outputs, the last state, and the gradients of every parameter."""
    cell.zero_grad()
    outputs, state = scan(cell, x, cell.initial_state(B), lengths, backend)
    (outputs.square().sum() + sum(part.sum() for part in state)).backward()
    gradients = (torch.zeros_like(each) if each.grad is None else each.grad for each in cell.parameters())
    return [outputs, *state, *gradients]


def _same(what: str, found: Tensor, wanted: Tensor, tolerance: float = 1e-12) -> None:
    """Raise AssertionError where two tensors differ in shape, or by more than rounding."""
    assert found.shape == wanted.shape, f"{what} differ in shape: {list(found.shape)}, {list(wanted.shape)}"
    difference = float((found - wanted).detach().abs().max()) if found.numel() else 0.0
    assert difference <= tolerance, f"{what} differ by {difference:.2g}"
