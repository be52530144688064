"""How fast does translate learn? Target tokens per second, next to the same net made of torch's own layers.

Both take the same batches of Multi30k (German to English, `--preset sentences`) in turns, whole training steps:
gradients, clipping, optimizer. Theirs: nn.LSTM both ways, nn.LSTM, Luong's general attention, tied output, label
smoothing, torch's fused AdamW. Ours: with AdamW, and with the recipe (Muon, averaged weights). Figures are medians.
Needs multi30k: `rnn data get multi30k`, or RNN_CORPORA, the folder of real corpora; and `rnncli[translate]`.
Run: python benchmarks/translate_throughput.py [--hidden 320] [--steps 15]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnncli.data.batching import IGNORED, Batch, built
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training.loop import Trainer
from rnncli.training.machine import keep_freed_memory, matmul_policy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", default="320")
    parser.add_argument("--steps", type=int, default=15)
    arguments = parser.parse_args()
    keep_freed_memory()
    task, flags = TASKS["translate"], {"corpus": ("multi30k",), "hidden": arguments.hidden}
    recipe = task.resolved(resolve(task, flags))
    plain = task.resolved(resolve(task, {**flags, "optimizer": "adamw", "average": 0.0}))
    experiment = task.build(recipe, "cpu")
    batches = list(islice(built(experiment.batches(0)), arguments.steps))
    V = len(experiment.payload["vocabulary"])
    theirs = Plain(V, recipe.embedding, recipe.sizes[0], recipe.embedding_dropout, recipe.output_dropout)
    takers: dict[str, Callable[[Batch], Any]] = {
        "torch's layers, AdamW": stepper(theirs, recipe.label_smoothing, recipe.clip),
        "ours, AdamW": ours(task.build(plain, "cpu"), plain),
        "ours, the recipe": ours(experiment, recipe),
    }
    spent: dict[str, list[float]] = {name: [] for name in takers}
    for take in takers.values():
        take(batches[0])
    for batch in batches:
        for name, take in takers.items():
            began = time.perf_counter()
            take(batch)
            spent[name].append((time.perf_counter() - began) / batch.predictions)
    print("| net | target tokens per second | relative to torch's |")
    print("| --- | --- | --- |")
    speeds = {name: 1 / statistics.median(each) for name, each in spent.items()}
    for name, speed in speeds.items():
        print(f"| {name} | {speed:,.0f} | {speed / next(iter(speeds.values())):.2f} |")


def ours(experiment: Any, settings: Any) -> Callable[[Batch], Any]:
    """A step of `rnn train translate`."""
    trainer = Trainer(experiment, settings)
    trainer.begin_average()

    def take(batch: Batch) -> None:
        with matmul_policy(experiment.model, settings.precision):
            trainer.take_step(batch)

    return take


def stepper(model: "Plain", label_smoothing: float, clip: float) -> Callable[[Batch], Any]:
    """A step of a plain training loop."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def take(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        logits = model(batch.inputs.source, batch.inputs.lengths, batch.inputs.target)
        targets = batch.targets.flatten()
        F.cross_entropy(logits.flatten(0, 1), targets, ignore_index=IGNORED, label_smoothing=label_smoothing).backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()

    return take


class Plain(nn.Module):
    """Encoder, decoder and general attention of torch's own layers, one layer each."""

    def __init__(self, V: int, D: int, M: int, embedding_dropout: float, output_dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, D)
        self.encoder, self.decoder = nn.LSTM(D, M, bidirectional=True), nn.LSTM(D, M)
        self.h0, self.c0 = nn.Linear(2 * M, M), nn.Linear(2 * M, M)
        self.key, self.joint = nn.Linear(2 * M, M, bias=False), nn.Linear(3 * M, D, bias=False)
        self.before, self.after = nn.Dropout(embedding_dropout), nn.Dropout(output_dropout)
        self.output = nn.Linear(D, V)
        self.output.weight = self.embedding.weight

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        read = self.before(self.embedding(source))
        packed, (h, c) = self.encoder(pack_padded_sequence(read, lengths, enforce_sorted=False))
        memory = pad_packed_sequence(packed)[0].transpose(0, 1)
        starts = [torch.tanh(f(torch.cat([*s], -1)))[None] for f, s in ((self.h0, h), (self.c0, c))]
        h, _ = self.decoder(self.before(self.embedding(target)), tuple(starts))
        scores = h.transpose(0, 1) @ self.key(memory).transpose(1, 2)
        absent = torch.arange(memory.shape[1])[None] >= lengths[:, None]
        context = scores.masked_fill(absent[:, None], -torch.inf).softmax(-1) @ memory
        combined = torch.tanh(self.joint(torch.cat([context.transpose(0, 1), h], -1)))
        logits: Tensor = self.output(self.after(combined))
        return logits


if __name__ == "__main__":
    main()
