"""Torch's recurrent layers by our cells: torch's arguments, equations, parameters and initial values, and more.

A weight of torch becomes a cell's by a change of signs or a sum, at each call and under autograd. Shapes: T steps, B
batch, D input, M hidden, G gates, L layers, R directions.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells.base import Cell
from rnncli.errors import UsageError
from rnncli.nn.layers import Layers, in_transform
from rnncli.nn.opaque import bare_cell, cell_with

_FUNCTIONS: dict[str, Any] = {
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
    "GRU": torch.gru,
    "LSTM": torch.lstm,
}
"""Torch's functions by the mode of a layer."""


class TorchNamed(Layers, nn.RNNBase):
    """Layers with the parameters of torch's: weight_ih (G*M, D), weight_hh (G*M, M), bias_ih, bias_hh (G*M,).

    Each name ends in `_l0`, `_l1`, … and for the other direction in `_reverse`. Parameters that torch's layer lacks are
    added under names of the same form.
    """

    weight_hh_l0: Tensor

    def __init__(
        self,
        mode: str,
        kind: str,
        *sizes: Any,
        activation: str = "tanh",
        learn_h0: bool,
        weight_drop: float,
        backend: str,
        recompute: bool,
        **torch_options: Any,
    ) -> None:
        nn.RNNBase.__init__(self, mode, *sizes, **torch_options)
        cell = bare_cell(kind, self.input_size, self.hidden_size, activation)
        self.set_up(kind, cell, weight_drop, backend, recompute)
        self.learn_h0 = learn_h0
        self.own_names = [name for name, _ in cell.named_parameters() if name.startswith("weight_c")]
        for suffix in self._suffixes():
            shapes = {name: tuple(cell.get_parameter(name).shape) for name in self.own_names}
            if learn_h0:
                shapes |= {f"{field}0": (size,) for field, size in self.state_sizes.items()}
            for name, shape in shapes.items():
                self.register_parameter(name + suffix, nn.Parameter(self.weight_hh_l0.new_empty(shape)))
                self._init_own(name + suffix)
        self.check_backend()

    def reset_parameters(self) -> None:
        """Fill all parameters uniformly from -1/√M to 1/√M, as torch does, but trainable first states with 0."""
        super().reset_parameters()
        for name, _ in self.named_parameters():
            if name[1:4] == "0_l":
                self._init_own(name)

    def _init_own(self, name: str) -> None:
        bound = 0.0 if name[1:4] == "0_l" else self.hidden_size**-0.5
        nn.init.uniform_(self.get_parameter(name), -bound, bound)

    def _suffixes(self) -> list[str]:
        ends = ("", "_reverse")[: self.directions]
        return [f"_l{layer}{end}" for layer in range(self.num_layers) for end in ends]

    def cell(self, place: int) -> Cell[Any]:
        """The cell of a layer and direction; the directions of layer 0 come first."""
        D = self.hidden_size * self.directions if place >= self.directions else self.input_size
        return cell_with(bare_cell(self.kind, D, self.hidden_size, self.activation), self.cell_weights(place))

    def cell_weights(self, place: int) -> dict[str, Tensor]:
        """The cell's tensors by its own names, from the parameters, after weight drop."""
        suffix = self._suffixes()[place]
        weight_ih, weight_hh = (getattr(self, f"weight_{part}{suffix}") for part in ("ih", "hh"))
        if self.training and self.weight_drop:
            weight_hh = F.dropout(weight_hh, self.weight_drop)
        if self.bias:
            biases = [getattr(self, f"bias_{part}{suffix}") for part in ("ih", "hh")]
        else:
            biases = [weight_ih.new_zeros(len(weight_ih))] * 2
        found = self.translated(weight_ih, weight_hh, *biases)
        return {**found, **{name: getattr(self, name + suffix) for name in self.own_names}}

    def translated(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> dict[str, Tensor]:
        """The cell's parameters from torch's."""
        return {"weight_x": weight_ih, "weight_h": weight_hh, "bias": bias_ih + bias_hh}

    def first_state(self, place: int, batch: int) -> tuple[Tensor, ...]:
        """Zeros, or the trainable state, (B, M) per field."""
        if not self.learn_h0:
            return tuple(self.weight_hh_l0.new_zeros(batch, size) for size in self.state_sizes.values())
        suffix = self._suffixes()[place]
        return tuple(getattr(self, f"{field}0{suffix}").expand(batch, -1) for field in self.state_sizes)

    def _single_step(self, x: Tensor, fields: list[Tensor] | None) -> tuple[Tensor, list[Tensor]] | None:
        """By torch's function of the same equations, on the weights as they are, on a CPU.

        Not for an LSTM in use: oneDNN packs its weights first, which takes longer than the step of large ones.
        """
        function = _FUNCTIONS.get(self.mode) if self.mode != "LSTM" or torch.is_grad_enabled() else None
        is_plain = self.backend in ("auto", "torch") and not (self.training and (self.dropout or self.weight_drop))
        is_changed = in_transform() or torch.is_autocast_enabled(x.device.type) or x.device.type != "cpu"
        if function is None or not is_plain or is_changed or _lacking(self):
            return None
        parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.bias else 2]
        weights = [getattr(self, part + suffix) for suffix in self._suffixes() for part in parts]
        shape = len(self._suffixes()), x.shape[1], self.hidden_size
        first = [value.contiguous() for value in fields or [x.new_zeros(shape)] * len(self.state_sizes)]
        hx: Any = first if len(first) > 1 else first[0]
        outputs, *last = function(x, hx, weights, self.bias, self.num_layers, 0.0, False, self.bidirectional, False)
        return outputs, last

    def extra_repr(self) -> str:
        own = {"learn_h0": False, "weight_drop": 0.0, "backend": "auto", "recompute": False}
        changed = [f", {name}={getattr(self, name)}" for name, usual in own.items() if getattr(self, name) != usual]
        return f"{super().extra_repr()}, cell={self.kind}, activation={self.activation}{''.join(changed)}"


class RNN(TorchNamed):
    """torch.nn.RNN: h = f(W_ih x + b_ih + W_hh h' + b_hh), with f `nonlinearity`: tanh, relu, or here also sigmoid.

    Arguments, parameters, inputs and results are torch's. Keyword-only and ours: `learn_h0` trains the first state
    (parameters h0_l0, …, (M,), that start at 0), `weight_drop` is the share of weight_hh that each call in training
    sets to zero, `backend` is one of those of docs/cells.md, and `recompute` keeps only states for the backward pass,
    which computes the rest again. Raises ValueError or TypeError as torch, UsageError for values of ours that do not
    exist, and as `forward`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        learn_h0: bool = False,
        weight_drop: float = 0.0,
        backend: str = "auto",
        recompute: bool = False,
    ) -> None:
        super().__init__(
            "RNN_RELU" if nonlinearity == "relu" else "RNN_TANH",
            "elman",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
            activation=nonlinearity,
            learn_h0=learn_h0,
            weight_drop=weight_drop,
            backend=backend,
            recompute=recompute,
        )
        self.nonlinearity = nonlinearity


class GRU(TorchNamed):
    """torch.nn.GRU, or with `reset="before"` the GRU of Cho et al. 2014, with torch's z and parameters.

    r = σ(W_ir x + b_ir + W_hr h' + b_hr);  z = σ(W_iz x + b_iz + W_hz h' + b_hz);  h = (1 - z) n + z h', where
    `reset="after"` (torch): n = f(W_in x + b_in + r (W_hn h' + b_hn));
    `reset="before"`: n = f(W_in x + b_in + W_hn (r h') + b_hn).
    The blocks of the weights are (r, z, n). Arguments, parameters, inputs and results are torch's. Keyword-only and
    ours: `reset`; `activation`, f: tanh, sigmoid or relu; `learn_h0`, `weight_drop`, `backend` and `recompute` as
    `RNN`, as are the errors.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        reset: str = "after",
        activation: str = "tanh",
        learn_h0: bool = False,
        weight_drop: float = 0.0,
        backend: str = "auto",
        recompute: bool = False,
    ) -> None:
        _check_choice("GRU", "reset", reset, ("after", "before"))
        super().__init__(
            "GRU",
            f"gru:reset-{reset}",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
            activation=activation,
            learn_h0=learn_h0,
            weight_drop=weight_drop,
            backend=backend,
            recompute=recompute,
        )
        self.reset = reset

    def translated(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> dict[str, Tensor]:
        """The cell's parameters: torch's z is 1 - z of the cell, and sigmoid(-a) = 1 - sigmoid(a)."""
        M = self.hidden_size
        one = bias_ih.new_ones(M)
        sign = torch.cat([one, -one, one])
        inner = {}
        if self.kind == "gru:reset-after":
            inner = {"bias_hh": bias_hh[2 * M :]}
            bias_hh = F.pad(bias_hh[: 2 * M], (0, M))
        weights = {"weight_x": weight_ih * sign[:, None], "weight_h": weight_hh * sign[:, None]}
        return {**weights, "bias": (bias_ih + bias_hh) * sign, **inner}


class LSTM(TorchNamed):
    """torch.nn.LSTM, with peepholes if `peepholes` is "diagonal" or "full".

    i = σ(W_ii x + b_ii + W_hi h' + b_hi + P_i c');  f = σ(W_if x + b_if + W_hf h' + b_hf + P_f c');
    g = tanh(W_ig x + b_ig + W_hg h' + b_hg);  c = f c' + i g;
    o = σ(W_io x + b_io + W_ho h' + b_ho + P_o c);  h = o tanh(c).
    The blocks of the weights are (i, f, g, o). "none", the default, has no P; "diagonal" has weight_c_l0 (2M,) for P_i
    and P_f, and weight_co_l0 (M,) for P_o; "full" has matrices, (2M, M) and (M, M). Arguments, other parameters, inputs
    and results are torch's, except that `proj_size` must be 0. `learn_h0` (h0_l0 and c0_l0), `weight_drop`, `backend`,
    `recompute` and errors as `RNN`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        peepholes: str = "none",
        learn_h0: bool = False,
        weight_drop: float = 0.0,
        backend: str = "auto",
        recompute: bool = False,
    ) -> None:
        if proj_size:
            raise UsageError(f"LSTM has no proj_size (given: {proj_size}): use torch.nn.LSTM for projections")
        _check_choice("LSTM", "peepholes", peepholes, ("none", "diagonal", "full"))
        super().__init__(
            "LSTM",
            f"lstm:{peepholes}",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
            learn_h0=learn_h0,
            weight_drop=weight_drop,
            backend=backend,
            recompute=recompute,
        )
        self.peepholes = peepholes


_PAIRS: tuple[tuple[type[TorchNamed], type[nn.RNNBase]], ...] = ((RNN, nn.RNN), (GRU, nn.GRU), (LSTM, nn.LSTM))


def from_torch(layer: nn.RNNBase, *, backend: str = "auto") -> RNN | GRU | LSTM:
    """Copy a torch.nn.RNN, GRU or LSTM as our layer, which computes the same.

    Raises UsageError for anything else, and for projections.
    """
    for Ours, Theirs in _PAIRS:
        if isinstance(layer, Theirs):
            made: RNN | GRU | LSTM = _copied(layer, Ours, backend=backend)
            return made
    raise UsageError(f"from_torch takes a torch.nn.RNN, GRU or LSTM, not a {type(layer).__name__}")


def to_torch(layer: RNN | GRU | LSTM) -> nn.RNN | nn.GRU | nn.LSTM:
    """Copy a layer as torch's, which computes the same, but without weight drop in training.

    Raises UsageError where torch has no layer of the same equations.
    """
    for Ours, Theirs in _PAIRS:
        if isinstance(layer, Ours):
            if reason := _lacking(layer):
                raise UsageError(f"torch.nn.{Theirs.__name__} has no {reason}")
            made: nn.RNN | nn.GRU | nn.LSTM = _copied(layer, Theirs)
            return made
    raise UsageError(f"to_torch takes an RNN, GRU or LSTM of rnncli.nn, not a {type(layer).__name__}")


def _lacking(layer: Any) -> str:
    """What torch's layer lacks of ours; empty where it has everything."""
    if layer.learn_h0:
        return "trainable first state (learn_h0): give it as hx"
    if layer.kind not in ("elman", "gru:reset-after", "lstm:none"):
        return f"{layer.kind.partition(':')[2]} {'peepholes' if layer.mode == 'LSTM' else ''}".strip()
    allowed = ("tanh", "relu") if layer.kind == "elman" else ("tanh",)
    return "" if layer.activation in allowed else f"activation {layer.activation}"


def _copied(layer: nn.RNNBase, Layer: Any, **options: Any) -> Any:
    """A layer of another class with the same sizes, options, weights and mode."""
    names = ["num_layers", "bias", "batch_first", "dropout", "bidirectional"]
    names += [name for name in ("nonlinearity", "proj_size") if getattr(layer, name, 0)]
    options |= {name: getattr(layer, name) for name in names}
    made: nn.RNNBase = Layer(layer.input_size, layer.hidden_size, device="meta", **options)
    made.load_state_dict({name: value.clone() for name, value in layer.state_dict().items()}, assign=True)
    made.flatten_parameters()
    for name, parameter in layer.named_parameters():
        made.get_parameter(name).requires_grad_(parameter.requires_grad)
    return made.train(layer.training)


def _check_choice(name: str, what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise UsageError(f"{name}: {what} must be one of {', '.join(known)}, not {given!r}")
