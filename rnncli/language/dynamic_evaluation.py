"""What all language models share that are measured: whether they go on learning from what they have been asked."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rnncli.errors import UsageError
from rnncli.settings import option

if TYPE_CHECKING:
    from rnncli.training.adaptation import Adaptation


@dataclass(frozen=True, kw_only=True)
class AdaptingOptions:
    """How a model adapts to the text that it is measured on; the checkpoint stays as it is."""

    dynamic: float = option(
        0.0,
        "Dynamic evaluation: learn from what was scored, at this rate (3e-4 suits letters, 1e-3 words); 0: do not.",
        least=0,
    )
    cache: int = option(
        0, "Neural cache: remember so many tokens (2000), and expect them where they fit; 0: do not.", least=0
    )
    cache_theta: float = option(0.3, "Of the cache: the greater, the more alike two places must be.", least=0)
    cache_share: float = option(0.1, "Of the cache: its share of the probability.", least=0, below=1)

    @property
    def adaptation(self) -> "Adaptation | None":
        """The same, as it is measured by, or None where the model stays as it is.

        Raises UsageError for settings of a cache where none is asked for.
        """
        from rnncli.training.adaptation import Adaptation

        settings = [field for field in fields(self) if field.name.startswith("cache_")]
        if not self.cache and any(getattr(self, field.name) != field.default for field in settings):
            raise UsageError("--cache-theta and --cache-share are of a cache: add --cache 2000")
        if not (self.dynamic or self.cache):
            return None
        return Adaptation(self.dynamic, self.cache, self.cache_theta, self.cache_share)
