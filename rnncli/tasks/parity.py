"""parity: at every step, is the number of ones so far odd? A classic task that is hard for feed-forward nets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rnncli.errors import UsageError
from rnncli.panels import Panel, confusion
from rnncli.recording import EXAMPLE, ActivationOptions, Recording, check_enough, states_of
from rnncli.settings import option, retuned
from rnncli.task import Action, Quick, Task, Trained
from rnncli.tasks import OUTLINES
from rnncli.training.settings import BOOK_TRAINING, RecurrentSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnncli.data.batching import Batch
    from rnncli.task import LastStep
    from rnncli.training.experiment import Experiment, Metrics

ALL_BITS = 16
"""Up to this length, all strings are used; for longer ones, a sample of `SAMPLE` strings."""
SAMPLE = 4096
SAFE_MARGIN = 1.0
"""Minimum margin in nats, at every step of the long strings, between the right label and the wrong one.

With this margin, states do not drift, and strings of any length get the right label.
"""
PARITIES = ("even", "odd")
"""The labels in the order of their ids."""

LONG = (256, 1000)
"""Number and length of the strings of the second validation set."""


@dataclass(frozen=True, kw_only=True)
class ParityConfig(RecurrentSettings):
    """Settings of parity; the defaults solved it with every seed that was tested."""

    panel: ClassVar[str] = "Parity"

    bits: int = option(12, "Length of the strings.", least=1, most=10_000)
    zero: int = option(-1, "Input for a 0, -1 or 0; the input for a 1 is 1.", least=-1, most=0, expert=True)
    model: str = option(
        "rnn", "A recurrent net, or a feed-forward net that reads all bits at once", choices=("rnn", "mlp")
    )
    patience_steps: int = option(
        300,
        "Restart with new weights after N steps without a solution; 0: never.",
        least=0,
        expert=True,
    )
    hidden: str = retuned(RecurrentSettings, "hidden", "4")
    epochs: int = retuned(RecurrentSettings, "epochs", 400)
    batch_size: int = retuned(RecurrentSettings, "batch_size", 64)
    optimizer: str = retuned(RecurrentSettings, "optimizer", "adam")
    lr: float = retuned(RecurrentSettings, "lr", 0.05)
    beta2: float = retuned(RecurrentSettings, "beta2", 0.9)
    validate_every: int = retuned(RecurrentSettings, "validate_every", 20)

    @property
    def label(self) -> str:
        return "mlp" if self.model == "mlp" else super().label


BOOK = {
    **BOOK_TRAINING,
    "bits": 12,
    "zero": 0,
    "model": "rnn",
    "cell": "elman",
    "hidden": "4",
    "activation": "sigmoid",
    "lr": 1e-4,
    "schedule": "constant",
    "epochs": 200,
    "patience_steps": 0,
}
BOOK_NOTE = (
    "the book's settings: accuracy stays at .5 for 51 to 93 epochs, then rises to 1 within three (seed 0: at epoch 64)"
)
FOIL = {
    "model": "mlp",
    "hidden": "64",
    "lr": 0.01,
    "beta2": 0.999,
    "schedule": "cosine",
    "clip": 0.0,
    "batch_size": 2**ALL_BITS,  # all strings at once; with smaller batches, wide nets fail from 10 bits on
    "epochs": 3000,
    "patience_steps": 0,
}
"""Settings of the feed-forward net, tuned so that the comparison is fair."""


def all_strings(bits: int, seed: int) -> "Tensor":
    """All strings of a length, or a sample if there are too many: (N, bits) of 0 and 1."""
    import torch

    if bits > ALL_BITS:
        return torch.randint(2, (SAMPLE, bits), generator=torch.Generator().manual_seed(seed))
    return torch.arange(2**bits)[:, None].bitwise_right_shift(torch.arange(bits)) & 1


def long_strings(seed: int) -> "Tensor":
    """Long strings for validation, (256, 1000), with few to many ones, so that states must persist."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    p = 0.25 + 0.5 * torch.rand(LONG[0], 1, generator=generator)  # of a 1, per string
    return (torch.rand(LONG, generator=generator) < p).long()


def sequences(strings: "Tensor", zero: int) -> "Batch":
    """A batch of bit strings (N, bits) for a recurrent net: one bit per step, and the parity so far."""
    from rnncli.data.batching import Batch

    return Batch(as_floats(strings, zero).T[:, :, None].contiguous(), (strings.cumsum(1) % 2).T.contiguous())


def whole_strings(strings: "Tensor", zero: int) -> "Batch":
    """A batch of bit strings (N, bits) for a feed-forward net: all bits in one step, and their parity."""
    from rnncli.data.batching import Batch

    return Batch(as_floats(strings, zero)[None], strings.sum(1)[None] % 2)


def as_floats(strings: "Tensor", zero: int) -> "Tensor":
    """Bits as floats, with `zero` for a 0."""
    return zero + (1.0 - zero) * strings


def build(config: ParityConfig, device: str) -> "Experiment":
    """Make the strings, and a new model."""
    import torch

    from rnncli.data.batching import LazyBatch, epoch_generator
    from rnncli.training.experiment import Experiment
    from rnncli.training.losses import prediction_loss

    model = build_model(config, {}).to(device)
    strings = all_strings(config.bits, config.seed).to(device)
    recurrent = config.model == "rnn"
    as_batch = partial(sequences if recurrent else whole_strings, zero=config.zero)
    long = as_batch(long_strings(config.seed).to(device)) if recurrent else None

    # an epoch of a recurrent net repeats short lists of strings, so that all epochs have a similar number of steps
    rounds = max(1, SAMPLE // len(strings)) if recurrent else 1

    def lazily(rows: "Tensor") -> LazyBatch:
        return LazyBatch(len(rows), lambda part: as_batch(strings[rows[part]]))

    def batches(epoch: int, begin: int = 0) -> Iterator[LazyBatch]:
        order = torch.randperm(rounds * len(strings), generator=epoch_generator(config.seed, epoch)) % len(strings)
        return map(lazily, order.to(device).split(config.step_size)[begin:])

    def reset() -> None:
        scatter(model)
        config.draw_first_weights(model)

    if recurrent:
        reset()
    kind = "all" if config.bits <= ALL_BITS else "a sample of"
    return Experiment(
        model=model,
        batches=batches,
        batches_per_epoch=-(-rounds * len(strings) // config.step_size),
        loss=prediction_loss,
        uses_all=True,
        no_graphs="",
        validate=lambda model: validate(model, as_batch(strings), long),
        about=f"{kind} {len(strings):,} strings of {config.bits} bits",
        solved=lambda metrics: metrics["accuracy"] == 1.0 and (not recurrent or metrics["long_margin"] >= SAFE_MARGIN),
        hopeless=lambda _, steps: 0 < config.patience_steps <= steps,
        reset=reset,
        payload={"corpus": f"{config.bits} bits"},
    )


def build_model(config: ParityConfig, payload: Mapping[str, Any]) -> "nn.Module":
    """An untrained net that reads one bit per step, or all bits at once."""
    from rnncli.models.feedforward import FeedForward
    from rnncli.models.tagger import Tagger

    del payload
    if config.model == "mlp":
        return FeedForward(config.bits, 2, config.sizes)
    return Tagger(1, 2, config.shape, backend=config.backend)


def scatter(model: "nn.Module") -> None:
    """Draw large weights: matrices from N(0, 1 / inputs), vectors from N(0, 1).

    With biases and first states of zero, a net of four units is too symmetric to learn parity from most seeds.
    """
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 1.0)


def validate(model: "nn.Module", batch: "Batch", long: "Batch | None") -> "Metrics":
    """Loss and accuracy on all strings by the last step; once all are right, also the accuracy on the long ones."""
    logits, _ = model(batch.inputs)
    metrics = last_step_metrics(logits, batch.targets)
    if long is not None and metrics["accuracy"] == 1.0:
        logits, _ = model(long.inputs)
        metrics["long_accuracy"] = last_step_metrics(logits, long.targets)["accuracy"]
        metrics["long_margin"] = margin(logits, long.targets)
    return metrics


def last_step_metrics(logits: "Tensor", targets: "Tensor") -> "Metrics":
    """Mean loss over all labels, and the share of strings whose last label is right."""
    from rnncli.training.losses import cross_entropy_sum

    loss = float(cross_entropy_sum(logits, targets)) / targets.numel()
    return {"loss": loss, "accuracy": float((logits[-1].argmax(-1) == targets[-1]).double().mean())}


def margin(logits: "Tensor", targets: "Tensor") -> float:
    """The smallest margin (nats) of the right label over the wrong one, over all steps of all strings."""
    lead = logits[..., 1] - logits[..., 0]
    return float((lead * (2 * targets - 1)).min())


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The strings to measure on."""

    bits: int | None = option(None, "Length of the strings; by default as in training.", least=1, most=1_000_000)
    strings: int = option(1000, f"Number of random strings, for more than {ALL_BITS} bits.", least=1)
    seed: int = option(0, "Seed of the random strings.", least=0, most=2**62)


def evaluate(trained: Trained, options: EvaluateOptions) -> dict[str, Any]:
    """Accuracy by the last step, over all strings of a length or a random sample of them."""
    import torch

    from rnncli.training.metrics import Confusion

    bits = options.bits or trained.config.bits
    if trained.config.model == "mlp" and bits != trained.config.bits:
        raise UsageError(f"a feed-forward net reads only strings of its own length: give --bits {trained.config.bits}")
    right = loss = 0.0
    counts = torch.zeros(2, 2, dtype=torch.long)
    count = options.strings if bits > ALL_BITS else 2**bits
    with torch.inference_mode():
        for part in _evaluation_strings(bits, options):
            logits, targets = _answers(trained, part)
            metrics = last_step_metrics(logits, targets)
            right += metrics["accuracy"] * len(part)
            loss += metrics["loss"] * len(part)
            counts += Confusion.of(PARITIES, targets[-1], logits[-1].argmax(-1)).counts.cpu()
    confusion = Confusion(PARITIES, counts).plain
    return {"bits": bits, "strings": count, "accuracy": right / count, "loss": loss / count, "confusion": confusion}


def _evaluation_strings(bits: int, options: EvaluateOptions) -> Iterator["Tensor"]:
    """All strings of a length, or random ones, in parts that fit in memory."""
    import torch

    max_strings = max(1, 1_000_000 // bits)
    if bits <= ALL_BITS:
        yield from all_strings(bits, 0).split(max_strings)
        return
    # training uses small seeds, so these strings differ from its own
    generator = torch.Generator().manual_seed((2**40 + options.seed) % 2**63)
    for begin in range(0, options.strings, max_strings):
        yield torch.randint(2, (min(max_strings, options.strings - begin), bits), generator=generator)


def _answers(trained: Trained, strings: "Tensor") -> tuple["Tensor", "Tensor"]:
    as_batch = whole_strings if trained.config.model == "mlp" else sequences
    batch = as_batch(strings.to(trained.device), trained.config.zero)
    logits, _ = trained.model(batch.inputs)
    return logits, batch.targets


def evaluation_name(trained: Trained, options: EvaluateOptions) -> str:
    """The name of the data that `evaluate` measures on."""
    return f"{options.bits or trained.config.bits} bits"


def held_out_text(_: Trained) -> Iterator[str]:
    """Random strings of 50 bits, which differ from those of any training."""
    import random

    generator = random.Random(2**40)
    for _row in range(20):
        yield "".join(generator.choices("01", k=50))


def record_states(trained: Trained, options: ActivationOptions) -> Recording:
    """The states after every bit of strings, one string per line; raises UsageError for other characters."""
    import torch

    if trained.config.model == "mlp":
        raise UsageError(f"{trained.source} is a feed-forward net, which reads all bits at once: it has no states")
    strings = options.read(trained, held_out_text).split()
    unknown = next((character for string in strings for character in string if character not in "01"), None)
    if unknown:
        raise UsageError(f"parity reads strings of 0 and 1, one per line: {unknown!r} is neither")
    pieces = [bit for string in strings for bit in (*string[:-1], f"{string[-1]}\n")][: options.max_tokens]
    check_enough(pieces)
    lines = [torch.tensor([[int(bit) for bit in line]]) for line in "".join(pieces).split()]
    batches = [sequences(line.to(trained.device), trained.config.zero) for line in lines]
    model: Any = trained.model
    return Recording(
        pieces,
        torch.cat(lines, dim=1)[0].tolist(),
        ("0", "1"),
        states_of(model.stack, [batch.inputs for batch in batches]),
        {"the parity so far": torch.cat([batch.targets for batch in batches])[:, 0].tolist()},
    )


def last_step(trained: Trained, text: str | None, length: int) -> "LastStep":
    """The loss of the last label of a string such as 0110, or without `text` of a random string of that length."""
    import torch
    from torch.nn import functional as F

    from rnncli.task import LastStep

    if trained.config.model == "mlp":
        raise UsageError(f"{trained.source} is a feed-forward net, which reads all bits at once")
    text = text and text.strip()  # without the line end of a file
    if text is not None and (not text or set(text) - {"0", "1"}):
        raise UsageError(f"--text must be bits such as 0110, not {text!r}")
    random = torch.randint(2, (1, length), generator=torch.Generator().manual_seed(trained.config.seed))
    strings = random if text is None else torch.tensor([[int(bit) for bit in text[:length]]])
    model: Any = trained.model
    batch = sequences(strings.to(trained.device), trained.config.zero)
    inputs = batch.inputs.to(next(model.parameters()).dtype)
    return LastStep(inputs, lambda h: F.cross_entropy(model.output(h), batch.targets[-1]))


def confusion_of(trained: Trained) -> Iterator[Panel]:
    """The confusion matrix on the default data of `evaluate`."""
    yield confusion(evaluate(trained, EvaluateOptions()))


TASK = Task(
    name="parity",
    summary=OUTLINES["parity"].summary,
    Config=ParityConfig,
    build=build,
    build_model=build_model,
    evaluate=Action(EvaluateOptions, evaluate, "rnn evaluate parity --bits 1000", corpus=evaluation_name),
    panels={"Confusion": confusion_of},
    presets={"book": BOOK, "foil": FOIL},
    notes={"book": BOOK_NOTE},
    uses={"activations": Action(ActivationOptions, record_states, EXAMPLE)},
    last_step=last_step,
    implied_preset=lambda flags: "foil" if flags.get("model") == "mlp" else None,
    example="rnn train parity --cell lstm --bits 20",
    quick=Quick(1),
)
