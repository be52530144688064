"""Threads: one for a tiny net, all for any other, and afterwards as before."""

import torch
from torch import nn

from rnncli.training.threads import TINY, suited_threads


def test_a_tiny_net_has_one_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with suited_threads(nn.Linear(4, 4)):
            assert torch.get_num_threads() == 1
        with suited_threads(nn.Linear(TINY, 1)):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
