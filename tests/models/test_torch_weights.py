"""Stacks as layers of torch: the same outputs in every arrangement of layers, and one line where torch has no layer."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rnncli.cells.outside import use_cell
from rnncli.errors import RnnError, UsageError
from rnncli.models import torch_weights as module
from rnncli.models.feedforward import FeedForward
from rnncli.models.stack import Stack, StackShape
from rnncli.models.tagger import Tagger
from rnncli.models.torch_weights import torch_weights

pytestmark = pytest.mark.usefixtures("plain_loops")

D = 3
SHAPES = {
    "one": StackShape("lstm:none", (5,)),
    "two alike": StackShape("gru:reset-after", (4, 4)),
    "both ways": StackShape("elman", (4, 4), activation="relu", bidirectional=True),
    "two sizes": StackShape("lstm:none", (5, 2), bidirectional=True),
    "three sizes, no first state": StackShape("elman", (2, 3, 2), learn_h0=False),
}


def run_torch(layers: dict[str, dict[str, object]], weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The outputs of torch's own layers for x (T, B, D)."""
    for name, given in layers.items():
        arguments = dict(given)
        layer = getattr(nn, str(arguments.pop("layer")))(**arguments)
        own = {key[len(name) + 1 :]: value for key, value in weights.items() if key.startswith(f"{name}.")}
        first = tuple(own.pop(key)[:, None].repeat(1, x.shape[1], 1) for key in ("h0", "c0") if key in own)
        layer.load_state_dict(own)
        x, _ = layer(x, first if len(first) > 1 else first[0])
    return x


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_torch_computes_the_outputs_of_a_stack(shape: StackShape) -> None:
    torch.manual_seed(1)
    model = Tagger(D, 2, shape, backend="reference").eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("h0", "c0")) and parameter.requires_grad:
            nn.init.uniform_(parameter, -1, 1)
    weights, layers, difference = torch_weights(model)
    assert list(layers) == (
        ["stack"] if len(set(shape.hidden)) == 1 else [f"stack.{i}" for i in range(len(shape.hidden))]
    )
    assert not any("cells" in name for name in weights)
    x = torch.randn(6, 2, D)
    with torch.no_grad():
        torch.testing.assert_close(run_torch(layers, weights, x), model.stack(x)[0], rtol=1e-5, atol=1e-6)
        assert torch.equal(weights["output.weight"], model.output.weight)
    assert difference < 1e-5


@pytest.mark.parametrize(
    ("shape", "refusal"),
    [
        (
            StackShape("gru:reset-before", (4,)),
            "cell gru:reset-before: torch has no layer with its equations; --weights",
        ),
        (StackShape("elman", (4,), activation="sigmoid"), "cell elman with sigmoid: torch has no layer"),
        (StackShape("elman", (4,), block="residual"), "torch has no layers in residual blocks: --weights"),
    ],
)
def test_a_net_that_torch_has_no_layer_for_is_refused(shape: StackShape, refusal: str) -> None:
    with pytest.raises(UsageError, match=refusal):
        torch_weights(Tagger(D, 2, shape))


def test_a_net_without_cells_is_refused() -> None:
    with pytest.raises(UsageError, match="no recurrent layers: --weights exports any net"):
        torch_weights(FeedForward(3, 2, (4,)))


def test_other_numbers_are_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, right = Stack(D, SHAPES["one"]), module.torch_form
    torch_weights(nn.ModuleDict({"stack": stack}))

    def wrong(cell: object) -> object:
        form = right(cell)
        assert not isinstance(form, str)
        return form._replace(weights=[form.weights[0] * 1.01, *form.weights[1:]])

    monkeypatch.setattr(module, "torch_form", wrong)
    with pytest.raises(RnnError, match=r"torch\.nn\.LSTM gives other numbers \(off by .*\): nothing exported"):
        torch_weights(nn.ModuleDict({"stack": stack}))


def test_several_stacks_have_layers_of_their_own() -> None:
    shape = SHAPES["one"]
    model = nn.ModuleDict({"encoder": Stack(D, replace(shape, bidirectional=True)), "decoder": Stack(D, shape)})
    layers = torch_weights(model).layers
    assert {name: each["bidirectional"] for name, each in layers.items()} == {"encoder": True, "decoder": False}


MINE = '''
from typing import NamedTuple

import torch
from rnncli.cells.base import Cell


class State(NamedTuple):
    h: torch.Tensor
    c: torch.Tensor


class Mine(Cell[State]):
    """An LSTM whose blocks are (o, g, f, i)."""

    State = State
    gates = 4

    def step(self, projected, state):
        o, g, f, i = (projected + state.h @ self.weight_h.T).chunk(4, -1)
        c = torch.tanh(g) * torch.sigmoid(i) + torch.sigmoid(f) * state.c
        return State(torch.tanh(c) * torch.sigmoid(o), c)
'''


def test_a_cell_from_outside_with_the_equations_of_torch_has_its_layer(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    stack = Stack(D, StackShape(use_cell(f"{tmp_path / 'mine.py'}:Mine"), (4,)))
    weights, layers, _ = torch_weights(nn.ModuleDict({"stack": stack}))
    assert layers["stack"]["layer"] == "LSTM"
    cell = stack.cells[0]
    o, g, f, i = cell.weight_h.chunk(4)
    assert torch.equal(weights["stack.weight_hh_l0"], torch.cat([i, f, g, o]))
