"""A warm start: the weights of one language model copied to another of the same shape, with the same or more tokens.

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
    """Copy the weights of a model that knows exactly the first of this model's tokens.

    New tokens are scored as the mean of the known ones (Hewitt 2021: predictions of known tokens hardly change). They
    keep their newly drawn input vectors; where input and output are tied, these are the mean too. Raises UsageError
    where any other shape differs.
    """
    own = model.state_dict()
    unknown = sorted(own.keys() ^ weights.keys())
    if unknown:
        raise UsageError(f"only one of the two models has {unknown[0]}: their shapes differ")
    for name, mine in own.items():
        known = weights[name].to(mine)
        grows = name in BY_TOKEN and len(known) < len(mine) and known.shape[1:] == mine.shape[1:]
        if known.shape != mine.shape and not grows:
            raise UsageError(f"{name} is {sizes(known)} in one model and {sizes(mine)} in the other")
        mine[: len(known)] = known
        if grows and (name != "embedding.weight" or model.output is None):
            mine[len(known) :] = known.mean(0)
