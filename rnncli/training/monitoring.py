"""The metric that a run is chosen by: which way is better, and what people are shown for it. No torch is needed."""

from collections.abc import Mapping
from typing import Any


def shown_metric(monitor: str, record: Mapping[str, Any]) -> str:
    """The name of the metric that people are shown for the monitored one: perplexity for a loss, where it is there."""
    return "perplexity" if monitor == "loss" and "perplexity" in record else monitor


def less_is_better(metric: str) -> bool:
    """Whether less of a metric is better: of a loss, and of what grows with it."""
    return metric in ("loss", "perplexity")
