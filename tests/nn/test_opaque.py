"""Compiled and exported layers have the values and gradients of the layer itself."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.outside import CoupledLSTM, Deep, Normalised
from torch.nn.utils.rnn import pack_sequence

import rnncli.nn as ours
from rnncli.cells import use_cell
from rnncli.nn.opaque import bare_cell

pytestmark = [pytest.mark.usefixtures("plain_loops"), pytest.mark.slow]

LAYERS: dict[str, Callable[[], Any]] = {
    "RNN": lambda: ours.RNN(4, 5, weight_drop=0.5),
    "GRU": lambda: ours.GRU(4, 5, 2, bidirectional=True),
    "LSTM": lambda: ours.LSTM(4, 5, batch_first=True),
    "peepholes": lambda: ours.LSTM(4, 5, peepholes="diagonal", learn_h0=True, bias=False),
    "Rated": lambda: ours.Rated(4, 5, 2, activation="relu"),
    "outside": lambda: ours.Recurrent(CoupledLSTM, 4, 5, variant="peephole", weight_drop=0.5),
    "with modules": lambda: ours.Recurrent(Normalised, 4, 5),
}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(1)
    torch._dynamo.reset()
    return LAYERS[request.param]()


def test_whole_graph_is_compiled_with_the_same_gradients(layer: Any) -> None:
    x = torch.randn(6, 3, 4)
    other = copy.deepcopy(layer)
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    for training in (True, False):
        found = []
        for each, run in ((layer, layer), (other, compiled)):
            each.train(training).zero_grad()
            torch.manual_seed(7)
            given = x.clone().requires_grad_()
            outputs, last = run(given)
            fields = last if isinstance(last, tuple) else (last,)
            (outputs.square().sum() + sum(field.sin().sum() for field in fields)).backward()
            found.append([outputs, *fields, given.grad, *(parameter.grad for parameter in each.parameters())])
        for mine, wanted in zip(*found, strict=True):
            torch.testing.assert_close(mine, wanted)


def test_exported_program_runs_at_other_sizes_after_saving(layer: Any) -> None:
    layer.eval()
    x = torch.randn(6, 3, 4)
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    saved = io.BytesIO()
    torch.export.save(torch.export.export(layer, (x,), dynamic_shapes=(sizes,)), saved)
    saved.seek(0)
    program = torch.export.load(saved).module()
    for given in (x, torch.randn(2, 5, 4)):
        torch.testing.assert_close(program(given)[0], layer(given)[0])


def test_packed_sequences_run_outside_of_the_compiled_graph() -> None:
    torch._dynamo.reset()
    layer = ours.GRU(4, 5)
    packed = pack_sequence([torch.randn(n, 4) for n in (2, 4)], enforce_sorted=False)
    found, _ = torch.compile(lambda given: layer(given), backend="aot_eager")(packed)
    assert torch.equal(found.data, layer(packed)[0].data)


def test_class_that_is_defined_again_replaces_the_first() -> None:
    """As in a notebook, where both have one name."""
    found = []
    for _ in range(2):
        again = type("Again", (Deep,), {"__module__": __name__})
        kind = use_cell(again)
        found.append(bare_cell(kind, 2, 3, "tanh"))
        assert type(found[-1]) is again
        assert bare_cell(kind, 2, 3, "tanh") is found[-1]
        assert found[-1].get_parameter("weight_x").is_meta
    assert found[0] is not found[1]
