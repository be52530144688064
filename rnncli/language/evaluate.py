"""How well a language model predicts a text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    from rnncli.data.text_data import EvalSet, TextData
    from rnncli.training.adaptation import Adaptation
    from rnncli.training.experiment import Metrics


def measure(model: "nn.Module", measured: "EvalSet", adaptation: "Adaptation | None" = None) -> "Metrics":
    """Measure loss in nats, accuracy and perplexity of a model, which may adapt to the text."""
    from rnncli.data.text_data import StreamSet
    from rnncli.training.adaptation import running_metrics_as, sentence_metrics_as

    if isinstance(measured, StreamSet):
        return running_metrics_as(model, measured.ids, adaptation, measured.voices)
    device = next(model.parameters()).device
    return sentence_metrics_as(model, (pool.to(device) for pool in measured.pools()), adaptation)


def with_bits(metrics: "Metrics", tokens_per_character: float) -> "Metrics":
    """Add the loss in bits per character."""
    from rnncli.training.metrics import bits_per_character

    return {**metrics, "bits_per_char": bits_per_character(metrics["loss"], tokens_per_character)}


def validator(data: "TextData", device: "torch.device") -> "Callable[[nn.Module], Metrics]":
    """Return a function that validates: loss, accuracy, perplexity, and bits per character if tokens form a stream."""
    from rnncli.data.text_data import SentenceSet
    from rnncli.training.adaptation import sentence_metrics_as

    measured = data.validation
    if isinstance(measured, SentenceSet):
        pools = [pool.to(device) for pool in measured.pools()]
        return lambda model: sentence_metrics_as(model, pools, None)
    if data.codec.by_line:
        return lambda model: measure(model, measured)
    rate = measured.summarize().tokens_per_character
    return lambda model: with_bits(measure(model, measured), rate)
