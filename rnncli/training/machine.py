"""How a net is worked with on a CPU: by how many threads, and by which library's products."""

from contextlib import AbstractContextManager
from typing import Any

from torch import nn

from rnncli.kernels.products import fast_products, small_products

SMALL = 100_000
"""Weights; a smaller net is no faster on several threads, and many times slower when other programs want them."""


def suited_products(model: nn.Module, precision: str = "float32") -> AbstractContextManager[None]:
    """While inside, a small net has one thread, and any other all that torch was given and the fastest products."""
    return small_products() if multiplied_weights(model) < SMALL else fast_products(precision)


def multiplied_weights(model: nn.Module) -> int:
    """The weights of a net but a reader's lookup tables; of a committee, those of one of its equal members."""
    members: Any = getattr(model, "members", [model])
    return sum(each.numel() for name, each in members[0].named_parameters() if not name.startswith("reader."))
