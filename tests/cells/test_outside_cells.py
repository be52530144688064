"""Cells from outside: any parameters and sizes of state pass every check, and a wrong cell is named in one line."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import outside as file
from support.numpy_loop import Weights, sigmoid

from rnncli.analysis.gradients import of_fresh_cells
from rnncli.cells import cell_class, label_of, make_cell, use_cell
from rnncli.cells.base import Cell, Hidden
from rnncli.cells.outside import OutsideCell, outside_cell
from rnncli.errors import UsageError
from rnncli.kernels.scan import scan
from rnncli.models.first_weights import draw_book_weights
from rnncli.models.stack import Stack, StackShape
from rnncli.testing import check_cell, describe, milliseconds, subject
from rnncli.training.optimizers import make_optimizer
from rnncli.training.settings import RecurrentSettings

pytestmark = pytest.mark.usefixtures("plain_loops")

FILE = Path(file.__file__)
SOUND = (file.Deep, file.CoupledLSTM, file.MultiplicativeRNN, file.Normalised, file.ProjectedLSTM)


def elman(step: Any) -> type[Cell[Hidden]]:
    """A class with this step, as written in a test."""
    return type("Odd", (Cell,), {"step": step})


@pytest.mark.parametrize("cell", SOUND)
def test_sound_cells_pass_every_check(cell: type[Cell[Any]]) -> None:
    check_cell(cell)


def test_variant_and_units_are_chosen() -> None:
    check_cell(file.CoupledLSTM, variant="peephole", hidden=3)
    assert subject(file.CoupledLSTM, variant="peephole").cell().weight_c.shape == (4,)


def test_cells_equal_their_equations() -> None:
    def deep(x, state, w: Weights):
        s = np.tanh(x @ w["weight_x"].T + state[0] @ w["weight_h"].T + w["bias"])
        return (np.tanh(s @ w["weight_s"].T),)

    def projected(x, state, w: Weights):
        h, c = state
        i, f, new, o = np.split(x @ w["weight_x"].T + h @ w["weight_h"].T + w["bias"], 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(new)
        return (sigmoid(o) * np.tanh(c)) @ w["weight_r"].T, c

    check_cell(file.Deep, deep)
    check_cell(file.ProjectedLSTM, projected)
    with pytest.raises(AssertionError, match="the cell and its equations differ by"):
        check_cell(file.Deep, lambda x, state, w: tuple(each + 0.1 for each in deep(x, state, w)))


@pytest.mark.parametrize(
    ("cell", "lines"),
    [
        (file.Branching, ["state: a sequence by itself and in a batch differ by"]),
        (file.Counting, ["state: two runs over the same input differ by"]),
        (elman(lambda self, a, s: Hidden(torch.tanh(a + torch.rand_like(a) + s.h))), ["state: two runs over"]),
        (elman(lambda self, a, s: Hidden(torch.tanh(a - a.mean(0)) + s.h)), ["state: a sequence by itself and in a"]),
        (elman(lambda self, a, s: Hidden((a + s.h).detach() + self.bias)), ["gradients: they differ from finite"]),
    ],
)
def test_unsound_cells_fail_by_name(cell: type[Cell[Any]], lines: list[str]) -> None:
    with pytest.raises(AssertionError) as failed:
        check_cell(cell)
    found = str(failed.value).splitlines()
    for line in lines:
        assert any(each.startswith(line) for each in found), found


@pytest.mark.parametrize("cell", [file.Branching, file.Counting])
def test_step_loop_runs_what_nothing_else_can(cell: type[Cell[Any]]) -> None:
    made: Any = make_cell(use_cell(cell), 3, 4)
    outputs, _ = scan(made, torch.randn(5, 2, 3), made.initial_state(2))
    outputs.sum().backward()
    assert made.weight_x.grad.abs().sum() > 0
    assert describe(made).startswith("reference")


def keep(self: Any, projected: Any, state: Hidden) -> Hidden:
    self.sum = vars(self).get("sum", 0.0) + projected
    return Hidden(torch.tanh(self.sum))


def add_lazy(self: Any) -> None:
    self.inner = torch.nn.LazyLinear(self.hidden_size)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"State": tuple}, "its State"),
        ({"state_sizes": property(lambda self: {"h": 2})}, "cell Odd: the size of h must be hidden_size, 4, not 2"),
        ({"state_sizes": property(lambda self: {"h": 4, "c": 4})}, "cell Odd: state_sizes has h, c, its State h"),
        ({"recurrent": ("weight_u",)}, "cell Odd has no parameter 'weight_u', which its `recurrent` names"),
        ({"project": lambda self, x: x[0]}, "cell Odd: project returns a tensor of 2 x 3 for 3 steps of 2 sequences"),
        ({"step": lambda self, a, s: a}, "cell Odd: step returns a tensor of 2 x 4, not its State Hidden"),
        ({"step": lambda self, a, s: Hidden(a[:, :2])}, "step returns a tensor of 2 x 2 as h, not a tensor of 2 x 4"),
        ({"step": lambda self, a, s: Hidden(None)}, "cell Odd: step returns a NoneType as h, not a tensor of 2 x 4"),
        ({"step": lambda self, a, s: s.c}, r"cell Odd fails at .*test_outside_cells.py:\d+: AttributeError: "),
        ({"step": Cell.step}, "has no method `step`"),
        (
            {"step": lambda self, a, s: Hidden(a.double())},
            "cell Odd: step returns h as torch.float64, not as torch.float",
        ),
        (
            {"step": lambda self, a, s: Hidden(a.add_(1.0))},
            r"fails at .*test_outside_cells.py:\d+: RuntimeError: .*inplace",
        ),
        ({"step": lambda self, a, s: exit(3)}, "cell Odd fails at .*: SystemExit: 3"),
        ({"step": keep}, "cell Odd: step keeps tensors of an earlier sequence outside of its state: make them fields"),
        ({"__init__": lambda self, D, M: None}, r"cell Odd fails at .*test_outside_cells.py: TypeError: .*'variant'"),
        ({"add_parameters": add_lazy}, "cell Odd has lazy modules: give them the size of their input"),
    ],
)
def test_wrong_declarations_and_steps_are_one_line(body: dict[str, Any], message: str) -> None:
    if body.get("State") is tuple:
        body = {"State": type("Empty", (tuple,), {"_fields": ()})}
        message = "cell Odd: the first field of its State must be h, not none"
    kept: dict[str, Any] = {"step": lambda self, a, s: Hidden(a), "__module__": __name__}
    with pytest.raises(UsageError, match=message) as refused:
        make_cell(use_cell(type("Odd", (Cell,), kept | body)), 3, 4)
    assert "\n" not in str(refused.value)


def test_names_are_split_at_the_first_file_and_registered_names_win() -> None:
    assert outside_cell("gru:reset-after") is None
    assert outside_cell("grue") is None
    assert outside_cell(".py:Deep") is None
    assert outside_cell("mine.py:") is None
    assert outside_cell(r"C:\x.py:Deep") == OutsideCell(r"C:\x.py", "Deep")
    assert outside_cell("a.py:B:some-variant") == OutsideCell("a.py", "B", "some-variant")
    assert outside_cell("odd.py:er/mine.py:Deep") is None
    assert outside_cell("package.module:Class:x") == OutsideCell("package.module", "Class", "x")
    assert [label_of(kind) for kind in ("a/b.py:Deep", "p.m:LSTM:v", "lstm:full")] == ["Deep", "LSTM:v", "lstm:full"]


def test_file_runs_once_per_content_and_imports_its_neighbours(tmp_path: Path) -> None:
    text = (
        "import beside_mine\nfrom support.outside import Deep as Base\nclass Deep(Base):\n    number = beside_mine.N\n"
    )
    (tmp_path / "beside_mine.py").write_text("N = 7\n")
    mine = tmp_path / "mine.py"
    mine.write_text(text)
    before = list(sys.path)
    kind = use_cell(f"{mine}:Deep")
    first = cell_class(kind)
    assert (kind, first.number, sys.path) == (f"{mine}:Deep", 7, before)  # type: ignore[attr-defined]
    assert sys.modules[first.__module__].__file__ == str(mine)
    use_cell(f"{mine}:Deep")
    assert cell_class(kind) is first
    mine.write_text(text + "    more = 1\n")
    use_cell(f"{mine}:Deep")
    assert cell_class(kind) is not first
    del sys.modules["beside_mine"]


def test_declared_matrices_are_dropped_scaled_and_orthogonal() -> None:
    cell: Any = make_cell(use_cell(file.ProjectedLSTM), 3, 4)
    assert [len(each) for each in cell.initial_state(2)] == [2, 2]
    assert [each.shape[1] for each in cell.initial_state(2)] == [4, 8]
    for block_of in (*cell.weight_h.split(4), cell.weight_r):
        gram = block_of @ block_of.T
        torch.testing.assert_close(gram, torch.eye(4), rtol=0, atol=1e-5)
    dropped = cell.with_weight_drop(0.5)
    assert (dropped.weight_h == 0).any()
    assert (dropped.weight_r == 0).any()
    assert dropped.weight_x is cell.weight_x
    flows = of_fresh_cells([use_cell(file.ProjectedLSTM)], [0.5], hidden=4, length=6)
    assert [(flow.name, flow.state) for flow in flows] == [("ProjectedLSTM, radius 0.5", each) for each in "hc"]


def test_cell_without_recurrent_matrices_is_refused_where_they_matter() -> None:
    plain = use_cell(type("Plain", (Cell,), {"recurrent": (), "step": lambda self, a, s: Hidden(a + s.h)}))
    with pytest.raises(UsageError, match="--weight-drop: cell Plain declares no recurrent matrices: leave it out"):
        Stack(3, StackShape(plain, weight_drop=0.5))
    with pytest.raises(UsageError, match="--radius: cell Plain declares no recurrent matrices"):
        of_fresh_cells([plain], [1.0], hidden=4, length=5)


def test_parameters_of_three_dimensions_start_train_and_take_the_books_values() -> None:
    class Heads(Cell[Hidden]):
        """Two heads of M / 2 units, each with its own recurrent matrix."""

        def add_parameters(self) -> None:
            super().add_parameters()
            half = self.hidden_size // 2
            self.weight_h = torch.nn.Parameter(torch.empty(2, half, half))

        def step(self, projected: torch.Tensor, state: Hidden) -> Hidden:
            heads = state.h.unflatten(-1, (2, -1))
            recurrent = torch.einsum("bki,kji->bkj", heads, self.weight_h).flatten(1)
            return Hidden(torch.tanh(projected + recurrent))

    cell: Any = make_cell(use_cell(Heads), 3, 4)
    for head in cell.weight_h:
        torch.testing.assert_close(head @ head.T, torch.eye(2), rtol=0, atol=1e-5)
    check_cell(Heads)
    optimizer = make_optimizer(cell, RecurrentSettings(optimizer="muon", lr=0.1))
    outputs, _ = scan(cell, torch.randn(5, 2, 3), cell.initial_state(2))
    outputs.sum().backward()
    before = cell.weight_h.detach().clone()
    optimizer.step()
    assert not torch.equal(cell.weight_h, before)
    draw_book_weights(cell)
    assert not cell.bias.any()


def test_time_of_a_layer_stands_next_to_torchs_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    from rnncli.analysis import bench

    monkeypatch.setattr(bench, "LONG_ENOUGH", 0.0)
    names = [list(milliseconds(use_cell(each), 4, 1)) for each in (file.Deep, file.CoupledLSTM)]
    assert names == [["auto", "step loop", f"torch.nn.{Layer}"] for Layer in ("RNN", "GRU")]


def test_example_of_the_page_is_the_minimal_gated_unit(tmp_path: Path) -> None:
    page = (FILE.parents[2] / "docs" / "cells.md").read_text("utf-8").partition("## Your own cell")[2]
    example = tmp_path / "mine.py"
    example.write_text(page.partition("```python\n")[2].partition("```")[0], "utf-8")
    cell: Any = make_cell(use_cell(f"{example}:MGU"), 3, 4)
    ours: Any = make_cell("mgu", 3, 4)
    ours.load_state_dict(cell.state_dict())
    x = torch.randn(5, 2, 3)
    assert torch.equal(scan(cell, x, cell.initial_state(2))[0], scan(ours, x, ours.initial_state(2))[0])
