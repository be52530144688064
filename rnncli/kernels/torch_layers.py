"""The torch backend: torch's own fused layers, for cells whose equations coincide with theirs.

Shapes: D input, M hidden, G gates.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnncli.kernels.matmul import may_round
from rnncli.kernels.precision import has_amx, type_of_factors

StateT = TypeVar("StateT", bound=tuple[Tensor, ...])


class TorchForm(NamedTuple):
    """A cell as torch's own layer: its function, and the weights in that layer's layout and gate order."""

    function: Callable[..., Any]  # torch.rnn_tanh, torch.rnn_relu, torch.gru or torch.lstm
    weights: list[Tensor]  # (G*M, D), (G*M, M), (G*M,), (G*M,)


def torch_form(cell: Any) -> TorchForm | str:
    """Return the cell as the layer of torch with the same equations, or say in a line why there is none."""
    from rnncli.kernels.engine.build import torch_layer

    layer = torch_layer(cell)
    return layer if isinstance(layer, str) else TorchForm(layer.function, layer.weights_of(cell))


def scan_torch(form: TorchForm, x: Tensor, state: StateT, lengths: Tensor | None = None) -> tuple[Tensor, StateT]:
    """Unroll a cell with torch's layer of the same equations; arguments and results as `scan_reference`.

    Under autocast the whole layer runs in the smaller type; so it does where `may_round` allows it and the CPU has AMX.
    """
    dtype = torch.bfloat16 if may_round(x) and has_amx() else type_of_factors(state[0])
    if dtype != state[0].dtype:  # by hand: torch's autocast always takes float16 for cuDNN's layers
        with torch.autocast(x.device.type, enabled=False):
            return scan_torch(form, x.to(dtype), type(state)(*(value.to(dtype) for value in state)), lengths)
    if lengths is None:
        outputs, *last = _call(form, x, state)
        return outputs, type(state)(*(value[0] for value in last))
    lengths = lengths.cpu()
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    assert packed.sorted_indices is not None
    assert packed.unsorted_indices is not None
    in_order = type(state)(*(value.index_select(0, packed.sorted_indices) for value in state))
    data, *last = _call(form, packed, in_order)
    padded, _ = pad_packed_sequence(packed._replace(data=data), total_length=x.shape[0])
    steps = torch.arange(x.shape[0])[:, None].minimum(lengths - 1).to(x.device)
    outputs = padded.gather(0, steps[:, :, None].expand_as(padded))
    return outputs, type(state)(*(value[0].index_select(0, packed.unsorted_indices) for value in last))


def _call(form: TorchForm, x: Tensor | PackedSequence, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Run one layer in one direction; return its outputs and each field of the last state."""
    start = tuple(value[None].contiguous() for value in state)
    hx = start if len(start) > 1 else start[0]
    if not x.data.is_cuda:
        return tuple(_run(form, x, hx))
    with warnings.catch_warnings():  # cuDNN copies weights outside one block and warns at every call
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk")
        return tuple(_run(form, x, hx))


def _run(form: TorchForm, x: Tensor | PackedSequence, hx: Tensor | tuple[Tensor, ...]) -> Any:
    options = (True, 1, 0.0, torch.is_grad_enabled(), False)  # biases, layers, dropout, train, bidirectional
    weights = [weight.to(x.data.dtype) for weight in form.weights]
    if isinstance(x, PackedSequence):
        return form.function(x.data, x.batch_sizes, hx, weights, *options)
    return form.function(x, hx, weights, *options, False)  # batch_first
