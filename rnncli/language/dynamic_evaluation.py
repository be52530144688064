"""Options of dynamic evaluation: whether a language model adapts to the text that it is measured on."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rnncli.errors import UsageError
from rnncli.settings import option

if TYPE_CHECKING:
    from rnncli.training.adaptation import Adaptation


@dataclass(frozen=True, kw_only=True)
class DynamicEvaluationOptions:
    """How a model adapts to the text that it is measured on; the checkpoint stays as it is."""

    dynamic: float = option(
        0.0,
        "Dynamic evaluation: learning rate on the text already scored (3e-4 for characters, 1e-3 for words); 0: off.",
        least=0,
    )
    cache: int = option(
        0, "Neural cache: remember the last N tokens (2000) and expect them in similar contexts; 0: off.", least=0
    )
    cache_theta: float = option(0.3, "Neural cache: greater values require more similar contexts.", least=0)
    cache_share: float = option(0.1, "Neural cache: its weight in the mixture of probabilities.", least=0, below=1)

    @property
    def adaptation(self) -> "Adaptation | None":
        """These options as an Adaptation, or None if the model does not adapt.

        Raises UsageError for settings of a cache without a cache.
        """
        from rnncli.training.adaptation import Adaptation

        settings = [field for field in fields(self) if field.name.startswith("cache_")]
        if not self.cache and any(getattr(self, field.name) != field.default for field in settings):
            raise UsageError("--cache-theta and --cache-share need a cache: add --cache 2000")
        if not (self.dynamic or self.cache):
            return None
        return Adaptation(self.dynamic, self.cache, self.cache_theta, self.cache_share)
