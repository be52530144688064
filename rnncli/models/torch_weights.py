"""The weights of a net as torch's own recurrent layers have them, where torch has layers of the same equations.

Shapes: T steps, B batch, D input, M hidden, L layers, R directions, V vocabulary, F features.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnncli.errors import RnnError, UsageError
from rnncli.kernels.torch_layers import torch_form
from rnncli.models.language_model import LanguageModel
from rnncli.models.readout import FullSoftmax
from rnncli.models.stack import Stack

_CLASSES: Mapping[Any, Mapping[str, Any]] = {
    torch.rnn_tanh: {"layer": "RNN", "nonlinearity": "tanh"},
    torch.rnn_relu: {"layer": "RNN", "nonlinearity": "relu"},
    torch.gru: {"layer": "GRU"},
    torch.lstm: {"layer": "LSTM"},
}
"""The classes of torch.nn by the functions that compute them."""

STEPS, STREAMS = 5, 3
"""Exported layers are tested on this many steps of this many sequences."""

TOLERANCE = 1e-5
"""The greatest difference allowed."""


class TorchWeights(NamedTuple):
    """Weights by name, torch's layers by name with their arguments, and how far their outputs differ at most."""

    weights: dict[str, Tensor]
    layers: dict[str, dict[str, Any]]
    difference: float


class _Layer(NamedTuple):
    """A layer of torch: its class and arguments, its state dict, and its first states h0 and c0, (L*R, M)."""

    arguments: dict[str, Any]
    weights: dict[str, Tensor]
    first: dict[str, Tensor]

    def made(self) -> Any:
        """The layer as a module."""
        arguments = dict(self.arguments)
        module = getattr(nn, arguments.pop("layer"))(**arguments, device=self.first["h0"].device)
        module.load_state_dict(self.weights)
        return module


@torch.no_grad()
def torch_weights(model: nn.Module, label: int | None = None) -> TorchWeights:
    """The weights of a net, with each stack of cells as a layer of torch; all others keep their names.

    The layer has the name of the stack, and its parameters are `stack.weight_ih_l0`, …, `stack.h0` and `stack.c0`. A
    stack of several sizes is one layer per size, `stack.0`, `stack.1`, …. Of a language model, `embedding.weight`, (V,
    D), has all that spelling and the voice of a label add, and a softmax over all words is `output.weight`, (V, F), and
    `output.bias`, (V,). Raises UsageError for a net without cells, cells that torch has no layer for, and blocks;
    RnnError if torch's layers compute other numbers.
    """
    weights = {name: value.detach() for name, value in model.state_dict().items()}
    stacks = [(name, each) for name, each in model.named_modules() if isinstance(each, Stack)]
    if not stacks:
        raise UsageError("--torch: the net has no recurrent layers: --weights exports any net")
    layers, difference = {}, 0.0
    for path, stack in stacks:
        found = dict(_layers_of(path, stack))
        difference = max(difference, _difference(stack, list(found.values())))
        weights = {each: value for each, value in weights.items() if not each.startswith(f"{path}.cells.")}
        for name, layer in found.items():
            layers[name] = layer.arguments
            weights |= {f"{name}.{each}": value for each, value in (layer.weights | layer.first).items()}
    if isinstance(model, LanguageModel):
        weights = dict(_of_language_model(model, weights, label))
    return TorchWeights(weights, layers, difference)


def _layers_of(path: str, stack: Stack) -> Iterator[tuple[str, _Layer]]:
    """The layers of a stack by name: one for all of the same size, or one for each."""
    if stack.shape.block != "none":
        raise UsageError(f"--torch: torch has no layers in {stack.shape.block} blocks: --weights exports any net")
    cells: Any = list(stack.cells)
    R, sizes = stack.directions, stack.shape.hidden
    if len(set(sizes)) == 1:
        yield path, _layer_of(cells, R)
    else:
        yield from ((f"{path}.{place}", _layer_of(cells[place * R :][:R], R)) for place in range(len(sizes)))


def _layer_of(cells: list[Any], R: int) -> _Layer:
    """The layer of cells of one size, layer by layer and forward before backward."""
    weights: dict[str, Tensor] = {}
    functions = []
    for place, cell in enumerate(cells):
        form = torch_form(cell)
        if isinstance(form, str):
            by = f" with {cell.activation}" if cell.activation != cell.activations[0] else ""
            raise UsageError(f"--torch: cell {cell.kind}{by}: {form}; --weights exports any cell")
        functions.append(form.function)
        names = (f"{part}_l{place // R}{'_reverse' * (place % R)}" for part in _PARTS)
        weights |= {name: value.detach() for name, value in zip(names, form.weights, strict=True)}
    states = zip(*(cell.initial_state(1) for cell in cells), strict=True)
    first = {f"{letter}0": torch.cat(values) for letter, values in zip("hc", states, strict=False)}
    sizes = {"input_size": cells[0].input_size, "hidden_size": cells[0].hidden_size, "num_layers": len(cells) // R}
    return _Layer({**_CLASSES[functions[0]], **sizes, "bidirectional": R == 2}, weights, first)


_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""The weights of a layer of torch, in the order of `TorchForm`."""


def _difference(stack: Stack, layers: list[_Layer]) -> float:
    """The greatest difference between the outputs of a stack and of torch's layers; raises RnnError for a large one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(STEPS, STREAMS, layers[0].arguments["input_size"], generator=generator)
    x = given = x.to(layers[0].first["h0"])
    reference = copy(stack.eval())
    reference.backend = "reference"  # another one might itself call torch's layers
    wanted, _ = reference(x)
    for layer in layers:
        first = tuple(value[:, None].repeat(1, STREAMS, 1) for value in layer.first.values())
        given, _ = layer.made()(given, first if len(first) > 1 else first[0])
    difference = float((wanted - given).abs().max())
    if not difference <= TOLERANCE:
        name = layers[0].arguments["layer"]
        raise RnnError(f"torch.nn.{name} gives other numbers (off by {difference:.2g}): nothing exported")
    return difference


def _of_language_model(
    model: LanguageModel, weights: Mapping[str, Tensor], label: int | None
) -> Iterator[tuple[str, Tensor]]:
    """The weights of a language model in the form that `torch_weights` describes."""
    yield "embedding.weight", model.input_vectors(label)
    yield from ((name, value) for name, value in weights.items() if name.startswith(("stack.", "projection.")))
    if isinstance(model.readout, FullSoftmax):
        yield "output.weight", model.readout.weight.detach()
        yield "output.bias", model.readout.bias.detach()
    else:
        yield from ((name, value) for name, value in weights.items() if name.startswith("output."))
