"""What every recurrent cell shares: its two methods, the learned first state, parameters and their first values.

Shapes: T steps, B batch, D input, M hidden, G gates. Weights lie as torch's layers have them, (G*M, D), gate by gate.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.errors import UsageError
from rnncli.kernels.forms import FusedForm, TorchForm, TritonForm

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


class Hidden(NamedTuple):
    """The state of a cell that remembers nothing but its hidden layer, (B, M)."""

    h: Tensor


class Cell(nn.Module, ABC, Generic[StateT]):
    """One step of a recurrent net; unrolling it over time is the scan's work.

    A subclass has a `name` and writes `step`. Where they differ from those here, it names its `State` (h first), the
    number of `gates` in its projection, its `variants` and free `activations` (the first of each is the default;
    functions of torch or of torch.nn.functional). A form lets a backend run it that is faster than its step.
    The first state (h0, c0, …) is learned, one vector a field, unless `learn_h0` is false: then it stays zero. Raises
    UsageError for a variant or an activation the cell does not have.
    """

    name: ClassVar[str]
    gates: ClassVar[int] = 1
    variants: ClassVar[tuple[str, ...]] = ("",)
    activations: ClassVar[tuple[str, ...]] = ("tanh",)
    State: ClassVar[Any] = Hidden  # the NamedTuple that StateT stands for
    weight_h: Tensor  # a parameter, or what weight drop leaves of it

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
        """Names of the state's tensors, h first."""
        return cast(tuple[str, ...], self.State._fields)

    def add_parameters(self) -> None:
        """Create what the cell has beside Wx, Wh, b and its first state, filled here or in `reset_parameters`."""

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
        """The state before the first step, (B, M) a field."""
        fields = (getattr(self, f"{field}0").expand(batch, -1) for field in self.state_fields)
        return cast(StateT, self.State(*fields))

    def with_weight_drop(self, share: float) -> "Cell[StateT]":
        """The cell with that share of Wh at zero and the rest scaled by 1 / (1 - share): DropConnect (Wan et al. 2013).

        For one sequence (Merity et al. 2018, arXiv:1708.02182); all other parameters are the cell's own.
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
        """The cell in the terms of torch's own layers, or None where their equations differ."""
        return None

    def triton_form(self) -> TritonForm | None:
        """The cell in the terms of the triton backend, or None where that has no recipe for it."""
        return None

    def fused_form(self) -> FusedForm | None:
        """The cell in the terms of the fused backend, or None where no loops are written for it; imports numba."""
        return None

    @property
    def kind(self) -> str:
        """The cell's name with its variant, as `make_cell` takes it."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    def extra_repr(self) -> str:
        return f"{self.kind}, D={self.input_size}, M={self.hidden_size}, {self.activation}"

    def _choice(self, what: str, asked: str | None, known: tuple[str, ...]) -> str:
        if asked is None:
            return known[0]
        if asked not in known:
            names = ", ".join(name for name in known if name) or "none"
            raise UsageError(f"cell {self.name} has no {what} {asked!r}: it has {names}")
        return asked
