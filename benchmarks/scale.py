"""What does a vocabulary cost? Times training steps of wiki-lm's model for growing V, with either softmax.

Prints for each V and softmax: weights, milliseconds per step of 64 sentences of 20 words, tokens per second, and the
peak memory of the process so far (it grows from row to row). Also the speed of reading batches from shards on one core.
Run: python benchmarks/scale.py [--sizes 10000 100000 1000000]
"""

import argparse
import resource
import time

import numpy as np
import torch

from rnncli.data.batching import Batch, built
from rnncli.data.streams import Part, SentenceStream
from rnncli.data.vocabulary import END
from rnncli.models.language_model import LanguageModel
from rnncli.models.stack import StackShape
from rnncli.training.experiment import Experiment
from rnncli.training.loop import Trainer
from rnncli.training.losses import language_loss
from rnncli.training.machine import matmul_policy
from rnncli.training.settings import TrainingSettings

T, B, D, M = 20, 64, 256, 256
STEPS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    sizes = parser.parse_args().sizes
    print(f"reading: {reading_rate():,.0f} tokens/s")
    print("| V | softmax | weights | ms per step | tokens/s | peak MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for V in sizes:
        for softmax in ("sampled", "adaptive", "full"):
            weights, seconds = step_time(V, softmax)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            print(f"| {V:,} | {softmax} | {weights:,} | {1000 * seconds:.0f} | {T * B / seconds:,.0f} | {peak:,.0f} |")


def reading_rate() -> float:
    """Tokens per second that are read from shards in batches."""
    ids = np.random.default_rng(0).zipf(1.2, 2_000_000).clip(3, 60_000).astype(np.uint16)
    ids[::20] = END
    stream = SentenceStream([Part(ids, int((ids == END).sum()))], np.arange(65_536), 100)
    began = time.perf_counter()
    tokens = sum(batch.predictions for batch in built(stream.batches(B, 0, 0, torch.device("cpu"))))
    return tokens / (time.perf_counter() - began)


def step_time(V: int, softmax: str) -> tuple[int, float]:
    """The weights of a model, and the seconds of the fastest of a few training steps, with clipping and AdamW."""
    torch.manual_seed(0)
    model = LanguageModel(V, D, StackShape("lstm:none", (M,)), softmax=softmax)
    words = (torch.rand(T + 1, B).pow(4) * V).long()  # frequent ones have the small numbers
    batch = Batch(words[:-1], words[1:])
    trainer = Trainer(Experiment(model, lambda *_: [batch], 1, language_loss, lambda _: {}), TrainingSettings())
    times = []
    with matmul_policy(model):
        for _ in range(STEPS):
            began = time.perf_counter()
            trainer.take_step(batch)
            times.append(time.perf_counter() - began)
    return sum(each.numel() for each in model.parameters()), min(times)


if __name__ == "__main__":
    main()
