"""The base of every recurrent cell: its two methods, the trainable first state, parameters and their initial values.

Shapes: T steps, B batch, D input, M hidden, G gates. Weights have the layout of torch's layers, (G*M, D), gate by gate.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.errors import UsageError
from rnncli.kernels.forms import TorchForm, TritonForm

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


class Hidden(NamedTuple):
    """The state of a cell whose only memory is its hidden layer, (B, M)."""

    h: Tensor


class Cell(nn.Module, ABC, Generic[StateT]):
    """One step of a recurrent net; the scan unrolls it over time.

    A subclass has a `name` and implements `step`. Where they differ from the defaults here, it also names its `State`
    (h first), the number of `gates` in its projection, its `variants` and its `activations` (functions of torch or of
    torch.nn.functional); the first of each is the default. A form lets a faster backend run the cell instead of its
    step. The first state (h0, c0, …) is trainable, one vector per field; with `learn_h0` false it stays zero. Raises
    UsageError for a variant or an activation that the cell lacks.
    """

    name: ClassVar[str]
    gates: ClassVar[int] = 1
    variants: ClassVar[tuple[str, ...]] = ("",)
    activations: ClassVar[tuple[str, ...]] = ("tanh",)
    State: ClassVar[Any] = Hidden  # the NamedTuple that StateT stands for
    weight_h: Tensor  # a parameter, or the part that weight drop leaves

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        variant: str | None = None,
        activation: str | None = None,
        learn_h0: bool = True,
    ) -> None:
        super().__init__()
        self.variant = self._choice("variant", variant, self.variants)
        self.activation = self._choice("activation", activation, self.activations)
        self.f: Callable[[Tensor], Tensor] = getattr(torch, self.activation, None) or getattr(F, self.activation)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight_x = nn.Parameter(torch.empty(self.gates * hidden_size, input_size))
        self.weight_h = nn.Parameter(torch.empty(self.gates * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(self.gates * hidden_size))
        for field in self.state_fields:
            self.register_parameter(f"{field}0", nn.Parameter(torch.empty(hidden_size), requires_grad=learn_h0))
        self.add_parameters()
        self.reset_parameters()

    @property
    def state_fields(self) -> tuple[str, ...]:
        """The names of the state's tensors, h first."""
        return cast(tuple[str, ...], self.State._fields)

    def add_parameters(self) -> None:
        """Create parameters other than Wx, Wh, b and the first state; fill them here or in `reset_parameters`."""

    def reset_parameters(self) -> None:
        """Fill Wx gate by gate with Glorot-uniform values, Wh with orthogonal ones, biases and first state with 0."""
        for weight in self.weight_x.chunk(self.gates):
            nn.init.xavier_uniform_(weight)
        for weight in self.weight_h.chunk(self.gates):
            nn.init.orthogonal_(weight)
        nn.init.zeros_(self.bias)
        for field in self.state_fields:
            nn.init.zeros_(getattr(self, f"{field}0"))

    def initial_state(self, batch: int) -> StateT:
        """Return the state before the first step, (B, M) per field."""
        fields = (getattr(self, f"{field}0").expand(batch, -1) for field in self.state_fields)
        return cast(StateT, self.State(*fields))

    def with_weight_drop(self, share: float) -> "Cell[StateT]":
        """Return the cell with that share of Wh at 0 and the rest times 1 / (1 - share): DropConnect (Wan et al. 2013).

        The mask serves one sequence (Merity et al. 2018, arXiv:1708.02182); all other parameters are shared with the
        cell.
        """
        view = copy(self)
        vars(view)["weight_h"] = F.dropout(self.weight_h, share)  # Python finds it before the parameter of that name
        return view

    def project(self, x: Tensor) -> Tensor:
        """Multiply the inputs of all steps, (T, B, D), by Wx and add b: (T, B, G*M)."""
        return F.linear(x, self.weight_x, self.bias)

    @abstractmethod
    def step(self, projected: Tensor, state: StateT) -> StateT:
        """Advance one step from the projected input (B, G*M) and the state of (B, M) tensors."""

    def torch_form(self) -> TorchForm | None:
        """Return the cell as one of torch's own layers, or None where their equations differ."""
        return None

    def triton_form(self) -> TritonForm | None:
        """Return the cell for the triton backend, or None where that has no recipe for it."""
        return None

    @property
    def kind(self) -> str:
        """The cell's name with its variant, as `make_cell` takes it."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    def extra_repr(self) -> str:
        return f"{self.kind}, D={self.input_size}, M={self.hidden_size}, {self.activation}"

    def _choice(self, what: str, wanted: str | None, known: tuple[str, ...]) -> str:
        if wanted is None:
            return known[0]
        if wanted not in known:
            names = ", ".join(name for name in known if name) or "none"
            raise UsageError(f"cell {self.name} has no {what} {wanted!r}: it has {names}")
        return wanted
