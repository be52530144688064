"""What all tasks share that write text: how tokens are drawn, and the dice."""

import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rnncli.training.settings import option

if TYPE_CHECKING:
    import torch

    from rnncli.models.decoding import Sampling


@dataclass(frozen=True, kw_only=True)
class WritingOptions:
    """How to draw tokens from a language model."""

    temperature: float = option(1.0, "Below 1: safer; above: bolder; 0: always the likeliest.", least=0)
    top_k: int = option(0, "Draw from the k likeliest only; 0: from all.", least=0)
    top_p: float = option(0.0, "Draw from the likeliest that together reach p; 0: from all.", least=0, most=1)
    seed: int | None = option(None, "Seed of the dice; without it, every call gives another text.", least=0)

    @property
    def sampling(self) -> "Sampling":
        """The same, as decoding takes it."""
        from rnncli.models.decoding import Sampling

        return Sampling(self.temperature, self.top_k, self.top_p)

    @cached_property
    def drawn_seed(self) -> int:
        """The seed, or one drawn by chance, the same at every look."""
        return secrets.randbits(31) if self.seed is None else self.seed

    def dice(self, device: "torch.device") -> "torch.Generator":
        """The dice on a device, freshly seeded."""
        import torch

        return torch.Generator(device).manual_seed(self.drawn_seed)
