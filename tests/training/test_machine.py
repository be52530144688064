"""The machine: one thread for a small net, all threads and fast matmuls for any other, restored afterwards."""

import torch
from torch import nn

from rnncli.data.features import Lexicon
from rnncli.models.classifier import Classifier, Committee
from rnncli.models.reader import ReaderShape, TokenReader
from rnncli.models.stack import StackShape
from rnncli.training.machine import SMALL, matmul_policy, multiplied_weights


def test_small_net_gets_one_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with matmul_policy(nn.Linear(4, 4)):
            assert torch.get_num_threads() == 1
        with matmul_policy(nn.Linear(SMALL, 1)):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_committee_counts_as_one_member_and_lookups_do_not_count() -> None:
    lexicon = Lexicon.of([["the", "bells"]], [], min_count=1, max_length=5)
    nets = [
        Classifier(TokenReader(lexicon, ReaderShape(("words",), 3, 3)), 2, StackShape("elman", (4,), learn_h0=False))
        for _ in range(5)
    ]
    assert multiplied_weights(Committee(nets)) == 4 * 3 + 4 * 4 + 4 + 4 + 2 * 4 + 2
