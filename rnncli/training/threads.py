"""How many threads a net is trained with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

TINY = 10_000
"""Parameters; a smaller net is no faster on several threads, and many times slower when other programs want them."""


@contextmanager
def suited_threads(model: nn.Module) -> Iterator[None]:
    """While inside, a tiny net has one thread and any other all that torch was given."""
    before = torch.get_num_threads()
    tiny = sum(parameter.numel() for parameter in model.parameters()) < TINY
    torch.set_num_threads(1 if tiny else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
