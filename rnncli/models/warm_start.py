"""The weights of one language model given to another of the same shape, which may know more tokens.

Shapes: V tokens.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from rnncli.errors import UsageError
from rnncli.models.language_model import LanguageModel
from rnncli.models.outline import sizes

BY_TOKEN = ("embedding.weight", "output.weight", "bias")
"""Weights that have a row for each token."""


@torch.no_grad()
def copy_weights(model: LanguageModel, weights: Mapping[str, Tensor]) -> None:
    """Give a model the weights of one that knows the first of its tokens, and no others.

    All others are scored as the mean of those (Hewitt 2021: what a net says of known ones hardly changes then); they
    are read by vectors that are drawn anew, or by what they are scored by where that is the same. Raises UsageError
    where anything else is of another shape.
    """
    own = model.state_dict()
    unknown = sorted(own.keys() ^ weights.keys())
    if unknown:
        raise UsageError(f"one model has {unknown[0]}, and the other has not: their shapes differ")
    for name, mine in own.items():
        known = weights[name].to(mine)
        grows = name in BY_TOKEN and len(known) < len(mine) and known.shape[1:] == mine.shape[1:]
        if known.shape != mine.shape and not grows:
            raise UsageError(f"{name} is {sizes(known)} in one model and {sizes(mine)} in the other")
        mine[: len(known)] = known
        if grows and (name != "embedding.weight" or model.output is None):
            mine[len(known) :] = known.mean(0)
