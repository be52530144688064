"""Layers of any cell, with its own parameters. Shapes: T steps, B batch, D input, M hidden, L layers, R directions."""

from typing import Any

import torch
from torch import Tensor, nn

from rnncli.cells import make_cell, use_cell
from rnncli.cells.base import Cell
from rnncli.nn.layers import Layers


class Recurrent(Layers):
    """Layers of a cell: a class derived from `rnncli.cells.base.Cell`, or a name as `--cell` takes it.

    Inputs, results and the other arguments are those of torch.nn.GRU: an input of (T, B, D) gives h of every step,
    (T, B, R*M), and the last state, (L*R, B, M); a cell whose state has several fields takes and returns a tuple of
    them. The equations, the parameters (`cells.0.weight_x`, …), their initial values and the trainable first state are
    the cell's own. `variant` and `activation` are among those of the cell. `learn_h0=False` keeps the first state at
    zero. `weight_drop` is the share of recurrent weights that each call in training sets to zero. `backend` is one of
    docs/cells.md. `recompute` keeps only states for the backward pass, which computes the rest again. Raises UsageError
    for a cell, a variant, an activation or a backend that does not exist, ValueError for wrong sizes, and as `forward`.
    """

    def __init__(
        self,
        cell: str | type[Cell[Any]],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        variant: str = "",
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        activation: str | None = None,
        learn_h0: bool = True,
        weight_drop: float = 0.0,
        backend: str = "auto",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        sizes = (input_size, hidden_size, num_layers)
        nn.RNN(*sizes, dropout=dropout, device="meta")  # refuses wrong sizes, as torch does
        self.input_size, self.hidden_size, self.num_layers = sizes
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        kind = use_cell(cell) + (f":{variant}" if variant else "")
        self.cells = nn.ModuleList(
            make_cell(kind, size, hidden_size, activation=activation, learn_h0=learn_h0).to(device, dtype)
            for size in [input_size, *[hidden_size * self.directions] * (num_layers - 1)]
            for _ in range(self.directions)
        )
        self.set_up(kind, self._plain(0), weight_drop, backend, recompute)
        self.check_backend()

    def cell(self, place: int) -> Cell[Any]:
        """The cell of a layer and direction; the directions of layer 0 come first."""
        cell = self._plain(place)
        return cell.with_weight_drop(self.weight_drop) if self.training and self.weight_drop else cell

    def cell_weights(self, place: int) -> dict[str, Tensor]:
        """Every tensor of that cell and its modules, by name, after weight drop."""
        cell = self._plain(place)
        found: dict[str, Tensor] = {**dict(cell.named_parameters()), **dict(cell.named_buffers())}
        for name in cell.recurrent if self.training and self.weight_drop else ():
            found[name] = nn.functional.dropout(found[name], self.weight_drop)
        return found

    def first_state(self, place: int, batch: int) -> tuple[Tensor, ...]:
        """The cell's trainable state before the first step, (B, size) per field."""
        state: tuple[Tensor, ...] = self._plain(place).initial_state(batch)
        return state

    def _plain(self, place: int) -> Cell[Any]:
        cells: Any = self.cells
        cell: Cell[Any] = cells[place]
        return cell


class Elman(Recurrent):
    """Elman's unit: h = f(x Wx + h' Wh + b), f tanh, sigmoid or relu. Arguments as `Recurrent`, without the cell."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Any) -> None:
        super().__init__("elman", input_size, hidden_size, num_layers, **options)


class Rated(Recurrent):
    """The rated unit: ĥ = f(x Wx + h' Wh + bh); z = σ(x Wxz + h' Whz + bz); h = (1 - z) h' + z ĥ.

    Arguments as `Recurrent`, without the cell; f is tanh, sigmoid or relu.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **options: Any) -> None:
        super().__init__("rated", input_size, hidden_size, num_layers, **options)
