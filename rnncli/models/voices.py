"""Several voices in one model: a trainable vector for each label, added at every step.

Shapes: T steps, B batch, K labels, D input.
"""

import torch
from torch import Tensor, nn

UNLABELLED = 0.1
"""Share of the streams that train without their label, so that the model also learns what all have in common."""


class Voices(nn.Embedding):
    """The vectors (..., D) of labels (...), which are added to those of the tokens.

    They start at N(0, 0.1). In training a tenth of the columns of labels (T, B) get none, as classifier-free guidance
    drops conditions (Ho and Salimans 2022, arXiv:2207.12598): text without a label is nobody's voice in particular.
    """

    def __init__(self, labels: int, size: int) -> None:
        super().__init__(labels, size)
        nn.init.normal_(self.weight, std=0.1)

    def forward(self, labels: Tensor) -> Tensor:
        x = super().forward(labels)
        if not self.training:
            return x
        return x * (torch.rand(x.shape[-2], 1, device=x.device) >= UNLABELLED)
