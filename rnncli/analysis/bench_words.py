"""Language models compared with torch's layers: training steps of a word model, and generation of one text.

Shapes: T steps, B batch, M hidden and embedding, V words.
"""

from collections.abc import Iterator
from functools import partial
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.analysis.bench import Contender, Row, Step
from rnncli.analysis.bench_cells import at_medium
from rnncli.analysis.bench_floor import fastest, floor, linear_groups, matmuls_of
from rnncli.data.batching import Batch
from rnncli.data.vocabulary import END, START, UNKNOWN
from rnncli.models.decoding import draw_streams, read
from rnncli.models.language_model import LanguageModel
from rnncli.models.sampling import Sampling
from rnncli.models.stack import StackShape
from rnncli.training.experiment import Experiment
from rnncli.training.loop import Trainer
from rnncli.training.losses import language_loss
from rnncli.training.machine import keep_freed_memory, matmul_policy
from rnncli.training.settings import TrainingSettings

T, B, M, V, LAYERS = 35, 20, 200, 10_000, 2
"""The word model, as the small one of Zaremba et al. 2014 (arXiv:1409.2329)."""

SPECIALS = (START, END, UNKNOWN)

STREAM_M, STREAM_V, STREAM = 256, 100, 500
"""The character model, and the number of characters to generate."""

PRECISIONS = ("float32", "bfloat16")
"""The precisions of our training steps."""


def rows() -> Iterator[Row]:
    """A whole training step, optimizer and clipping included, free and tied; then one stream of text."""
    for precision in PRECISIONS:
        for tied in (False, True):
            contenders: dict[str, Contender] = {
                "ours": partial(our_step, tied, precision),
                "torch": partial(their_step, tied),
                "torch at medium": partial(_their_step_at_medium, tied),
                **floor(_step_matmuls, precision),
            }
            name = f"word model, {precision}, {'tied' if tied else 'free'}"
            yield Row(name, f"T{T}-B{B}-M{M}-V{V}", contenders)
    streams: dict[str, Contender] = {"ours": our_stream, "torch": their_stream, **floor(_stream_matmuls)}
    yield Row("generation", f"B1-M{STREAM_M}-V{STREAM_V}, {STREAM} characters", streams, one_thread=True)


def our_step(tied: bool, precision: str) -> Step:
    """A step of `rnn train`; it keeps freed memory, which helps the rivals in this process as well."""
    keep_freed_memory()
    model = LanguageModel(V, M, StackShape("lstm:none", (M,) * LAYERS), tied=tied)
    batch = Batch(*a_batch())
    experiment = Experiment(model, lambda *_: [batch], 1, language_loss, lambda _: {})
    trainer = Trainer(experiment, TrainingSettings(precision=precision))

    def step() -> None:
        with matmul_policy(model, precision):
            trainer.take_step(batch)

    return step


class WordModel(nn.Module):
    """The same model from torch's layers."""

    def __init__(self, words: int, size: int, layers: int, *, tied: bool = False) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(words, size), nn.LSTM(size, size, layers)
        self.output = nn.Linear(size, words)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        h, state = self.lstm(self.embedding(tokens), state)
        return self.output(h), state


def their_step(tied: bool) -> Step:
    """The same step from torch's layers, loss, clipping and AdamW at their defaults."""
    model = WordModel(V, M, LAYERS, tied=tied)
    optimizer = torch.optim.AdamW(model.parameters())
    tokens, targets = a_batch()

    def step() -> float:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tokens)[0].flatten(0, 1), targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def _their_step_at_medium(tied: bool) -> Step:
    return at_medium(their_step(tied))


def _step_matmuls(precision: str) -> Step | None:
    """The matmuls of such a step: those of the layers and of the output layer."""
    layer = matmuls_of("lstm:none", M, M)
    layers = [group for _ in range(LAYERS) for group in layer.groups(T, B)] if layer else []
    return fastest([*layers, *linear_groups(T * B, M, V)], precision)


def a_batch() -> tuple[Tensor, Tensor]:
    """Tokens and targets (T, B) with the word frequencies of a text (Zipf)."""
    ranks = 1 / torch.arange(1, V + 1)
    tokens = torch.multinomial(ranks, T * B + B, replacement=True, generator=torch.Generator().manual_seed(0))
    return tokens[: T * B].view(T, B), tokens[B:].view(T, B)


def our_stream() -> Step:
    """What `rnn generate` does: one text, character by character."""
    model = LanguageModel(STREAM_V, STREAM_M, StackShape("lstm:none", (STREAM_M,)))

    def step() -> list[Any]:
        last = repeat(False, STREAM - 1)
        draw = partial(draw_streams, banned=SPECIALS, generator=torch.Generator())
        return list(draw(read(model, SPECIALS[:1]), 1, Sampling(), ending=lambda: lambda _: next(last, True)))

    return step


def _stream_matmuls() -> Step | None:
    """The matmuls of a text: in each step the layer's, whose input is a row of a table, and the output layer's."""
    layer = matmuls_of("lstm:none", STREAM_M, STREAM_M)
    sizes = [*(layer.steps if layer else []), (STREAM_M, STREAM_V)]
    return fastest([[(torch.randn(STREAM, 1, K), torch.randn(N, K).t()) for K, N in sizes]])


def their_stream() -> Step:
    """The same with torch's layers, step by step."""
    model = WordModel(STREAM_V, STREAM_M, 1)

    @torch.inference_mode()
    def step() -> list[int]:
        text: list[int] = []
        token, state = torch.zeros(1, 1, dtype=torch.long), None
        for _ in range(STREAM):
            logits, state = model(token, state)
            token = torch.multinomial(logits[0].softmax(-1), 1)
            text.append(int(token))
        return text

    return step
