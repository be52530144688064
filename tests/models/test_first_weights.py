"""The book's initial weights: the spread of every matrix, and zeros everywhere else."""

from typing import Any

import pytest
import torch
from support.kinds import KINDS
from torch import Tensor

from rnncli.cells import make_cell
from rnncli.models.first_weights import draw_book_weights
from rnncli.models.language_model import LanguageModel
from rnncli.models.stack import StackShape
from rnncli.models.translator import Translator

WITHIN_ONE = 0.6827
"""Share of a normal distribution within one standard deviation."""


def check_normal(weight: Tensor, ends: int) -> None:
    """Compare values with N(0, 1 / ends), within five standard errors of each statistic."""
    count, scaled = weight.numel(), weight.detach().flatten() * ends**0.5
    assert abs(float(scaled.mean())) < 5 / count**0.5
    assert abs(float(scaled.std()) - 1) < 5 / (2 * count) ** 0.5
    within = float((scaled.abs() < 1).double().mean())
    assert abs(within - WITHIN_ONE) < 5 * (WITHIN_ONE * (1 - WITHIN_ONE) / count) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_each_gate_of_a_cell_is_a_separate_matrix(kind: str) -> None:
    D, M = 150, 250
    torch.manual_seed(0)
    cell: Any = make_cell(kind, D, M)
    before = {name: parameter.detach().clone() for name, parameter in cell.named_parameters()}
    draw_book_weights(cell)
    for name, parameter in cell.named_parameters():
        if name.startswith("weight"):
            for gate in parameter.split(M):
                check_normal(gate, M + (D if gate.shape[1:] == (D,) else M))
        elif name.startswith("bias") or name.endswith("0"):
            assert not parameter.any(), name  # every bias, the LSTM's forget gate included, and h0, c0
        else:
            assert torch.equal(parameter, before[name]), name  # the gains of a layer normalisation, the LRU's λ


def test_each_head_is_a_separate_matrix() -> None:
    torch.manual_seed(0)
    cell: Any = make_cell("slstm:4-heads", 3, 400)
    draw_book_weights(cell)
    check_normal(cell.weight_h, 200)


def test_embedding_and_output_layer_have_their_spread() -> None:
    V, D, M = 400, 100, 200
    torch.manual_seed(1)
    model: Any = LanguageModel(V, D, StackShape("lstm", (M,)))
    model.init_bias(torch.arange(V))
    draw_book_weights(model)
    check_normal(model.embedding.weight, V + D)
    check_normal(model.output.weight, M + V)
    assert not model.bias.any()  # word frequencies are overwritten


def test_attention_and_bridge_layers_have_their_spread() -> None:
    torch.manual_seed(2)
    model: Any = Translator(50, 60, StackShape("gru", (80,)), attention="additive")
    draw_book_weights(model)
    check_normal(model.attention.key.weight, 160 + 80)
    check_normal(model.attention.score, 80 + 1)
    check_normal(model.starts[0].weight, 160 + 80)
    assert not any(each.any() for name, each in model.named_parameters() if name.rpartition(".")[2].startswith("bias"))
