"""How many threads a net is trained with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

SMALL = 100_000
"""Weights; a smaller net is no faster on several threads, and many times slower when other programs want them."""


@contextmanager
def suited_threads(model: nn.Module) -> Iterator[None]:
    """While inside, a small net has one thread and any other all that torch was given."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if multiplied_weights(model) < SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def multiplied_weights(model: nn.Module) -> int:
    """The weights of a net but a reader's lookup tables; of a committee, those of one of its equal members."""
    members: Any = getattr(model, "members", [model])
    return sum(each.numel() for name, each in members[0].named_parameters() if not name.startswith("reader."))
