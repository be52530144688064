"""The base of every recurrent cell: its two methods, the trainable first state, parameters and their initial values.

Shapes: T steps, B batch, D input, M hidden, G gates, P what `project` returns. Weights have the layout of torch's
layers, (G*M, D), gate by gate.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.errors import UsageError

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


class Hidden(NamedTuple):
    """The state of a cell whose only memory is its hidden layer, (B, M)."""

    h: Tensor


class Cell(nn.Module, ABC, Generic[StateT]):
    """One step of a recurrent net; the scan unrolls it over time.

    A subclass implements `step`. Where they differ from the defaults here, it also gives:
    - its `State`, a NamedTuple with h first, and `state_sizes`, where a field other than h has not M units;
    - the number of `gates` in the default parameters Wx, Wh and b; or `add_parameters` with any others, and `project`;
    - the names of its `recurrent` matrices, which weight drop and `rnn gradients --radius` change; `()` for none;
    - the fields of the state that are `unread`: the next step does not need them, and their first values stay 0;
    - its `variants` and `activations` (functions of torch or of torch.nn.functional); the first of each is the default;
    - its `name`, without which it has the name of its class.

    A form lets a faster backend run the cell instead of its step. The first state (h0, c0, …) is trainable, one vector
    per field; with `learn_h0` false it stays zero. Raises UsageError for a variant or an activation that the cell
    lacks, and for declarations that do not fit each other.
    """

    name: ClassVar[str]
    gates: ClassVar[int] = 1
    variants: ClassVar[tuple[str, ...]] = ("",)
    activations: ClassVar[tuple[str, ...]] = ("tanh",)
    recurrent: ClassVar[tuple[str, ...]] = ("weight_h",)
    unread: ClassVar[tuple[str, ...]] = ()
    State: ClassVar[Any] = Hidden  # the NamedTuple that StateT stands for
    weight_h: Tensor  # a parameter, or the part that weight drop leaves

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = cls.__name__

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
        self.input_size, self.hidden_size, self.learn_h0 = input_size, hidden_size, learn_h0
        self._check_sizes()
        self.add_parameters()
        self._add_first_state()
        self._check_recurrent()
        self.reset_parameters()

    @property
    def state_sizes(self) -> Mapping[str, int]:
        """The size of each field of the state; that of h is M."""
        return dict.fromkeys(self.state_fields, self.hidden_size)

    @property
    def state_fields(self) -> tuple[str, ...]:
        """The names of the state's tensors, h first."""
        return cast(tuple[str, ...], self.State._fields)

    @property
    def _own(self) -> dict[str, nn.Parameter]:
        """The cell's own parameters by name, without those of modules inside it."""
        return dict(self.named_parameters(recurse=False))

    def add_parameters(self) -> None:
        """Create all parameters but the first state: Wx (G*M, D), b (G*M,) and, if it is recurrent, Wh (G*M, M)."""
        rows = self.gates * self.hidden_size
        self.weight_x = nn.Parameter(torch.empty(rows, self.input_size))
        if "weight_h" in self.recurrent:
            self.weight_h = nn.Parameter(torch.empty(rows, self.hidden_size))
        self.bias = nn.Parameter(torch.empty(rows))
        self._add_first_state()  # already here: a checkpoint keeps an optimizer's state in the order of parameters

    def _add_first_state(self) -> None:
        if "h0" in self._own:
            return
        for field, size in self.state_sizes.items():
            trainable = self.learn_h0 and field not in self.unread
            self.register_parameter(f"{field}0", nn.Parameter(torch.empty(size), requires_grad=trainable))

    def reset_parameters(self) -> None:
        """Fill every parameter by `init_parameter`; those of modules inside the cell keep their own values."""
        for name, parameter in self._own.items():
            self.init_parameter(name, parameter.detach())

    def init_parameter(self, name: str, parameter: Tensor) -> None:
        """Fill a recurrent matrix with orthogonal values, any other with Glorot-uniform ones, a vector with 0.

        Each gate's rows of a matrix are filled separately.
        """
        if parameter.dim() < 2:
            nn.init.zeros_(parameter)
        elif name in self.recurrent:
            for block in recurrent_blocks(parameter):
                nn.init.orthogonal_(block)
        else:
            M = self.hidden_size
            for matrix in _matrices(parameter):
                for block in matrix.split(M if len(matrix) % M == 0 else len(matrix)):
                    nn.init.xavier_uniform_(block)

    def initial_state(self, batch: int) -> StateT:
        """Return the state before the first step, (B, size) per field."""
        fields = (getattr(self, f"{field}0").expand(batch, -1) for field in self.state_fields)
        return cast(StateT, self.State(*fields))

    def recurrent_weights(self) -> dict[str, Tensor]:
        """The recurrent matrices by name."""
        return {name: getattr(self, name) for name in self.recurrent if name in self._own}

    def with_weight_drop(self, share: float) -> "Cell[StateT]":
        """Return the cell with that share of its recurrent matrices at 0 and the rest times 1 / (1 - share).

        This is DropConnect (Wan et al. 2013). The mask serves one sequence (Merity et al. 2018, arXiv:1708.02182); all
        other parameters are shared with the cell.
        """
        view = copy(self)
        for name, weight in self.recurrent_weights().items():
            vars(view)[name] = F.dropout(weight, share)  # Python finds it before the parameter of that name
        return view

    def project(self, x: Tensor) -> Tensor:
        """Return what a step needs of its own input only, for all steps at once: (T, B, D) to (T, B, P).

        Here x Wx + b, so that P is G*M. One step's input, (B, D), becomes (B, P).
        """
        return F.linear(x, self.weight_x, self.bias)

    @abstractmethod
    def step(self, projected: Tensor, state: StateT) -> StateT:
        """Advance one step from the projected input (B, P) and the state of (B, size) tensors."""

    @property
    def kind(self) -> str:
        """The cell's name with its variant, as `make_cell` takes it."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    def extra_repr(self) -> str:
        return f"{self.kind}, D={self.input_size}, M={self.hidden_size}, {self.activation}"

    def _check_sizes(self) -> None:
        """Raise UsageError where the sizes of the state are not one per field, that of h first and M."""
        fields, sizes = self.state_fields, self.state_sizes
        if not fields or fields[0] != "h":
            raise UsageError(f"cell {self.name}: the first field of its State must be h, not {(*fields, 'none')[0]}")
        if tuple(sizes) != fields:
            raise UsageError(f"cell {self.name}: state_sizes has {', '.join(sizes)}, its State {', '.join(fields)}")
        if sizes["h"] != self.hidden_size:
            raise UsageError(
                f"cell {self.name}: the size of h must be hidden_size, {self.hidden_size}, not {sizes['h']}"
            )

    def _check_recurrent(self) -> None:
        """Raise UsageError where `recurrent`, unless it is the default, names something else than a parameter."""
        lacking = [name for name in self.recurrent if name not in self._own]
        if lacking and type(self).recurrent is not Cell.recurrent:
            raise UsageError(f"cell {self.name} has no parameter {lacking[0]!r}, which its `recurrent` names")

    def _choice(self, what: str, wanted: str | None, known: tuple[str, ...]) -> str:
        if wanted is None:
            return known[0]
        if wanted not in known:
            names = ", ".join(name for name in known if name) or "none"
            raise UsageError(f"cell {self.name} has no {what} {wanted!r}: it has {names}")
        return wanted


def _matrices(weight: Tensor) -> Iterator[Tensor]:
    """The matrices of a parameter (…, R, C), as views."""
    yield from (weight[None] if weight.dim() == 2 else weight.flatten(0, -3))


def recurrent_blocks(weight: Tensor) -> Iterator[Tensor]:
    """The square blocks of a recurrent matrix (…, G*C, C), gate by gate, as views; any other matrix is one block."""
    for matrix in _matrices(weight):
        rows, columns = matrix.shape
        yield from matrix.split(columns if rows % columns == 0 else rows)
