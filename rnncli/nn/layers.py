"""The forward pass of every layer here, with the arguments and results of torch's recurrent layers.

Shapes: T steps, B batch, D input, M hidden, L layers, R directions (1 or 2).
"""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnncli.cells.base import Cell
from rnncli.errors import UsageError
from rnncli.kernels.scan import choose_backend, scan
from rnncli.kinds import check_kind
from rnncli.models.block import PLAIN
from rnncli.models.stack import run_layers
from rnncli.nn.opaque import scan_whole

Result = Tensor | tuple[Tensor, ...]
"""A state: one tensor, or a tuple if the cell's state has several fields, as (h, c) of an LSTM."""

_JIT: Any = torch.jit  # has no types


class Layers(nn.Module):
    """Layers of one kind of cell; a subclass gives the cells and their weights."""

    input_size: int
    hidden_size: int
    num_layers: int
    batch_first: bool
    dropout: float
    bidirectional: bool
    kind: str  # of the cells, as `make_cell` takes it
    activation: str
    state_sizes: dict[str, int]  # of the cells' state, by field
    weight_drop: float
    backend: str
    recompute: bool = False  # here for layers that were pickled before it existed

    def set_up(self, kind: str, cell: Cell[Any], weight_drop: float, backend: str, recompute: bool) -> None:
        """Set what all cells share, from one of them; raises UsageError for a weight drop that it cannot have."""
        check_kind(weight_drop, float, f"{self._name}: weight_drop")
        if not 0 <= weight_drop < 1:
            raise UsageError(f"{self._name}: weight_drop must be at least 0 and less than 1, not {weight_drop}")
        if weight_drop and not cell.recurrent_weights():
            raise UsageError(f"{self._name}: cell {cell.kind} declares no recurrent matrices: leave weight_drop out")
        self.kind, self.activation, self.state_sizes = kind, cell.activation, dict(cell.state_sizes)
        self.weight_drop, self.backend, self.recompute = weight_drop, backend, recompute

    def check_backend(self) -> None:
        """Raise UsageError for an unknown backend, and for one that cannot compute the cells."""
        if self.backend != "auto":
            choose_backend(self.cell(0), self.backend, device=None)

    @abstractmethod
    def cell(self, place: int) -> Cell[Any]:
        """The cell of a layer and direction with its weights; the directions of layer 0 come first."""

    @abstractmethod
    def cell_weights(self, place: int) -> dict[str, Tensor]:
        """Every tensor of that cell and its modules, by name, after weight drop."""

    @abstractmethod
    def first_state(self, place: int, batch: int) -> tuple[Tensor, ...]:
        """The state of that cell before the first step, (B, size) per field."""

    @property
    def directions(self) -> int:
        """R: 2 if the layer is bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def forward(self, input: Tensor | PackedSequence, hx: Result | None = None) -> tuple[Any, Any]:
        """Run all layers over the input, from the state `hx` or from the layer's own first state.

        input: (T, B, D); (B, T, D) with `batch_first`; (T, D) without a batch; or a PackedSequence. hx: (L*R, B, M) per
        field of the state, (L*R, M) without a batch. Returns h of the top layer at every step in the form of the input,
        with R*M features, and the last state in the form of hx. Raises UsageError for any other shape or type.
        """
        if isinstance(input, PackedSequence):
            packed: tuple[Any, Any] = self._forward_packed(input, hx)
            return packed
        if not isinstance(input, Tensor):
            found = type(input).__name__  # type: ignore[unreachable]  # by its declared type
            raise UsageError(f"{self._name}: the input must be a tensor or a PackedSequence, not a {found}")
        if input.dim() not in (2, 3):
            raise UsageError(f"{self._name}: the input must have 3 dimensions, or 2 without a batch, not {input.dim()}")
        is_single = input.dim() == 2
        x = input[:, None] if is_single else input.transpose(0, 1) if self.batch_first else input
        outputs, last = self._run(x, self._fields(hx, is_single), None)
        if is_single:
            return outputs[:, 0], self._state([value[:, 0] for value in last])
        return outputs.transpose(0, 1) if self.batch_first else outputs, self._state(last)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _forward_packed(self, input: PackedSequence, hx: Result | None) -> tuple[Any, Any]:
        """The same over packed sequences: padded, and in the order of the packing, longest first."""
        data, batch_sizes, order, places = input
        x, lengths = pad_packed_sequence(PackedSequence(data, batch_sizes))
        fields = self._fields(hx, False)
        if fields is not None and order is not None:
            fields = [value.index_select(1, order) for value in fields]
        outputs, last = self._run(x, fields, lengths if int(lengths.min()) < len(x) else None)
        if places is not None:
            last = [value.index_select(1, places) for value in last]
        packed = pack_padded_sequence(outputs, lengths)
        return PackedSequence(packed.data, packed.batch_sizes, order, places), self._state(last)

    def _run(self, x: Tensor, fields: list[Tensor] | None, lengths: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Run over x (T, B, D) from fields of (L*R, B, M), or from the first states."""
        if _JIT.is_tracing():
            raise UsageError(f"{self._name}: torch.jit.trace cannot follow it: use torch.export, or to_torch first")
        self._check(x, fields)
        if not torch.compiler.is_compiling() and len(x) == 1 and (found := self._single_step(x, fields)):
            return found
        places = range(self.num_layers * self.directions)
        if fields is None:
            states = [self.first_state(place, x.shape[1]) for place in places]
        else:
            states = [tuple(value[place] for value in fields) for place in places]

        def unroll(place: int, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
            return self._unroll(place, x, states[place], lengths)

        outputs, last = run_layers(x, [PLAIN] * self.num_layers, self.directions, unroll, self._drop, lengths)
        results = [torch.stack(values) for values in zip(*last, strict=True)]
        if not torch.compiler.is_compiling() and not in_transform():
            self._refuse_second_derivatives([outputs, *results], x.shape[1], lengths is not None)
        return outputs, results

    def _single_step(self, x: Tensor, fields: list[Tensor] | None) -> tuple[Tensor, list[Tensor]] | None:
        """One step of all layers, if there is a shorter way than `scan`."""
        del x, fields
        return None

    def _unroll(
        self, place: int, x: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        if torch.compiler.is_compiling():
            return scan_whole(self.kind, self.activation, self.cell_weights(place), x, state, self.backend)
        cell, backend, recompute = self.cell(place), self.backend, self.recompute and not in_transform()
        if backend != "reference" and in_transform():
            if backend != "auto":
                raise UsageError(f"{self._name}: transforms of torch.func need backend='reference' or 'auto'")
            backend = "reference"
        return scan(cell, x, cell.State(*state), lengths, backend, recompute=recompute)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def _refuse_second_derivatives(self, results: Iterable[Tensor], B: int, is_packed: bool) -> None:
        """Name the way out, where the error of a backend would not."""

        def check(d: Tensor) -> None:
            if torch.is_grad_enabled() and self.backend != "reference":
                where = d.device.type, d.dtype
                if choose_backend(self.cell(0), self.backend, *where, packed=is_packed, sequences=B) != "reference":
                    raise UsageError(f"{self._name}: second derivatives (create_graph) need backend='reference'")

        for value in results:
            if value.requires_grad:
                value.register_hook(check)

    def _fields(self, hx: Result | None, is_single: bool) -> list[Tensor] | None:
        """The fields of a given state, (L*R, B, size)."""
        if hx is None:
            return None
        names = tuple(self.state_sizes)
        fields = list(hx) if isinstance(hx, tuple | list) else [hx]
        are_tensors = all(isinstance(value, Tensor) for value in fields)
        if not are_tensors or len(fields) != len(names) or isinstance(hx, Tensor) == (len(names) > 1):
            wanted = f"a tuple ({', '.join(names)})" if len(names) > 1 else "one tensor"
            raise UsageError(f"{self._name}: the first state must be {wanted}")
        dims = 2 if is_single else 3
        if any(value.dim() != dims for value in fields):
            raise UsageError(f"{self._name}: the first state of this input must have {dims} dimensions")
        return [value[:, None] for value in fields] if is_single else fields

    def _state(self, fields: list[Tensor]) -> Result:
        return fields[0] if len(fields) == 1 else tuple(fields)

    def _check(self, x: Tensor, fields: list[Tensor] | None) -> None:
        """Raise UsageError where the input (T, B, D) or a given state does not fit the weights."""
        T, B, D = x.shape
        if self.input_size != D or not T:
            wanted = f"at least one step of {self.input_size} features"
            raise UsageError(f"{self._name}: the input must have {wanted}, not {T} of {D}")
        for (name, size), value in zip(self.state_sizes.items(), fields or (), strict=False):
            shape = (self.num_layers * self.directions, B, size)
            if value.shape != shape:
                found = tuple(value.shape)
                raise UsageError(f"{self._name}: {name} of the first state must have shape {shape}, not {found}")
        dtype = next(self.parameters()).dtype
        for value in (x, *(fields or ())):
            if value.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
                raise UsageError(f"{self._name}: the input and the state must be {dtype}, not {value.dtype}")

    @property
    def _name(self) -> str:
        return type(self).__name__


def in_transform() -> bool:
    """Tell whether a transform of torch.func (grad, vmap, …) is at work; no, where torch does not tell."""
    functorch: Any = getattr(getattr(torch, "_C", None), "_functorch", None)
    top = getattr(functorch, "peek_interpreter_stack", None)
    return top is not None and top() is not None
