"""parity: is the number of ones so far odd? A label at every step, the classic that feed-forward nets choke on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rnncli.errors import UsageError
from rnncli.panels import Panel, confusion
from rnncli.recording import EXAMPLE, ActivationOptions, Recording, check_enough, states_of
from rnncli.settings import option, retuned
from rnncli.task import Action, Task, Trained
from rnncli.tasks import OUTLINES
from rnncli.training.settings import BOOK_TRAINING, RecurrentSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnncli.data.batching import Batch
    from rnncli.task import LastStep
    from rnncli.training.experiment import Experiment, Metrics

ALL_BITS = 16
"""Up to so many bits all strings are used; above, a sample of `SAMPLE` strings."""
SAMPLE = 4096
SAFE_MARGIN = 1.0
"""Nats between the right label and the wrong one that every step of the long strings must keep: then states no longer
drift, and strings of any length come out right."""
PARITIES = ("even", "odd")
"""The labels by number."""

LONG = (256, 1000)
"""Strings and bits of the run's own long validation set."""


@dataclass(frozen=True, kw_only=True)
class ParityConfig(RecurrentSettings):
    """Settings of parity; the defaults solve it from every seed that was tried."""

    panel: ClassVar[str] = "Parity"

    bits: int = option(12, "Length of the strings.", least=1, most=10_000)
    zero: int = option(-1, "What a 0 is fed as: -1 or 0; a 1 is fed as 1.", least=-1, most=0, expert=True)
    model: str = option(
        "rnn", "A recurrent net, or a feed-forward one that sees all bits at once", choices=("rnn", "mlp")
    )
    patience_steps: int = option(
        300,
        "Steps after which unsolved weights are given up and drawn anew; 0: never.",
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
    "the book's settings: accuracy stays at .5 for 50 to 95 epochs, then rises to 1 within three (seed 0: at epoch 64)"
)
FOIL = {
    "model": "mlp",
    "hidden": "64",
    "lr": 0.01,
    "beta2": 0.999,
    "schedule": "cosine",
    "clip": 0.0,
    "batch_size": 2**ALL_BITS,  # all strings at once: with smaller batches wide nets fail from 10 bits on
    "epochs": 3000,
    "patience_steps": 0,
}
"""What the feed-forward net is trained with: a fair chance."""


def all_strings(bits: int, seed: int) -> "Tensor":
    """Every string of so many bits, or a sample where there are too many: (N, bits) of 0 and 1."""
    import torch

    if bits > ALL_BITS:
        return torch.randint(2, (SAMPLE, bits), generator=torch.Generator().manual_seed(seed))
    return torch.arange(2**bits)[:, None].bitwise_right_shift(torch.arange(bits)) & 1


def long_strings(seed: int) -> "Tensor":
    """The run's own long strings, (256, 1000): with few ones, half ones and many ones, so that states must hold."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    share = 0.25 + 0.5 * torch.rand(LONG[0], 1, generator=generator)
    return (torch.rand(LONG, generator=generator) < share).long()


def sequences(strings: "Tensor", zero: int) -> "Batch":
    """A batch of bit strings (N, bits) for a recurrent net: `zero` or 1 a step, and the parity so far."""
    from rnncli.data.batching import Batch

    return Batch(fed(strings, zero).T[:, :, None].contiguous(), (strings.cumsum(1) % 2).T.contiguous())


def wholes(strings: "Tensor", zero: int) -> "Batch":
    """A batch of bit strings (N, bits) for a feed-forward net: all bits in one step, and the parity of all."""
    from rnncli.data.batching import Batch

    return Batch(fed(strings, zero)[None], strings.sum(1)[None] % 2)


def fed(strings: "Tensor", zero: int) -> "Tensor":
    """Bits as floats, 0 as `zero`."""
    return zero + (1.0 - zero) * strings


def build(config: ParityConfig, device: str) -> "Experiment":
    """Lay the strings out, and a fresh model beside them."""
    import torch

    from rnncli.data.batching import LazyBatch, epoch_generator
    from rnncli.training.experiment import Experiment
    from rnncli.training.losses import prediction_loss

    model = build_model(config, {}).to(device)
    strings = all_strings(config.bits, config.seed).to(device)
    recurrent = config.model == "rnn"
    as_batch = partial(sequences if recurrent else wholes, zero=config.zero)
    long = as_batch(long_strings(config.seed).to(device)) if recurrent else None

    # a recurrent net's epoch is no shorter where strings are few: its patience is counted in steps
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
        validate=lambda model: validate(model, as_batch(strings), long),
        about=f"{kind} {len(strings):,} strings of {config.bits} bits",
        solved=lambda metrics: metrics["accuracy"] == 1.0 and (not recurrent or metrics["long_margin"] >= SAFE_MARGIN),
        hopeless=lambda _, steps: 0 < config.patience_steps <= steps,
        reset=reset,
        payload={"corpus": f"{config.bits} bits"},
    )


def build_model(config: ParityConfig, payload: Mapping[str, Any]) -> "nn.Module":
    """An untrained net: one bit a step, or all of them at once."""
    from rnncli.models.feedforward import FeedForward
    from rnncli.models.tagger import Tagger

    del payload
    if config.model == "mlp":
        return FeedForward(config.bits, 2, config.sizes)
    return Tagger(1, 2, config.shape, backend=config.backend)


def scatter(model: "nn.Module") -> None:
    """Draw weights far apart: matrices from N(0, 1 / inputs), vectors from N(0, 1).

    With biases and first states at zero a net of four units is too symmetric to find parity from most seeds.
    """
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0.0, parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 1.0)


def validate(model: "nn.Module", batch: "Batch", long: "Batch | None") -> "Metrics":
    """Loss and accuracy of all strings, by the last step; once they are all right, of the long ones too."""
    logits, _ = model(batch.inputs)
    metrics = last_step_metrics(logits, batch.targets)
    if long is not None and metrics["accuracy"] == 1.0:
        logits, _ = model(long.inputs)
        metrics["long_accuracy"] = last_step_metrics(logits, long.targets)["accuracy"]
        metrics["long_margin"] = margin(logits, long.targets)
    return metrics


def last_step_metrics(logits: "Tensor", targets: "Tensor") -> "Metrics":
    """Mean loss of all labels, and the share of strings whose last label is right."""
    from rnncli.training.losses import cross_entropy_sum

    loss = float(cross_entropy_sum(logits, targets)) / targets.numel()
    return {"loss": loss, "accuracy": float((logits[-1].argmax(-1) == targets[-1]).double().mean())}


def margin(logits: "Tensor", targets: "Tensor") -> float:
    """The least lead (nats) of a right label over the wrong one, over all steps of all strings."""
    lead = logits[..., 1] - logits[..., 0]
    return float((lead * (2 * targets - 1)).min())


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Which strings to measure on."""

    bits: int | None = option(None, "Length of the strings; else as in training.", least=1, most=1_000_000)
    strings: int = option(1000, f"How many random strings, above {ALL_BITS} bits.", least=1)
    seed: int = option(0, "Seed of the random strings.", least=0, most=2**62)


def evaluate(trained: Trained, options: EvaluateOptions) -> dict[str, Any]:
    """Classification rate by the last step, over all strings of a length or over a random sample of them."""
    import torch

    from rnncli.training.metrics import Confusion

    bits = options.bits or trained.config.bits
    if trained.config.model == "mlp" and bits != trained.config.bits:
        raise UsageError(f"a feed-forward net takes strings of its own length alone: --bits {trained.config.bits}")
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
    """All strings of a length, or random ones, in parts that fit into memory."""
    import torch

    most = max(1, 1_000_000 // bits)
    if bits <= ALL_BITS:
        yield from all_strings(bits, 0).split(most)
        return
    # apart from any seed of training: what is drawn here was drawn nowhere there
    generator = torch.Generator().manual_seed((2**40 + options.seed) % 2**63)
    for begin in range(0, options.strings, most):
        yield torch.randint(2, (min(most, options.strings - begin), bits), generator=generator)


def _answers(trained: Trained, strings: "Tensor") -> tuple["Tensor", "Tensor"]:
    as_batch = wholes if trained.config.model == "mlp" else sequences
    batch = as_batch(strings.to(trained.device), trained.config.zero)
    logits, _ = trained.model(batch.inputs)
    return logits, batch.targets


def evaluated(trained: Trained, options: EvaluateOptions) -> str:
    """What `evaluate` measures on, in words."""
    return f"{options.bits or trained.config.bits} bits"


def passage(_: Trained) -> Iterator[str]:
    """Random strings of 50 bits, apart from those of any training."""
    import random

    dice = random.Random(2**40)
    for _row in range(20):
        yield "".join(dice.choices("01", k=50))


def watch(trained: Trained, options: ActivationOptions) -> Recording:
    """The states after every bit of some strings, a string a line; raises UsageError for anything but bits."""
    import torch

    if trained.config.model == "mlp":
        raise UsageError(f"{trained.source} is a feed-forward net, which sees all bits at once: it has no states")
    strings = options.read(trained, passage).split()
    strange = next((sign for string in strings for sign in string if sign not in "01"), None)
    if strange:
        raise UsageError(f"parity reads strings of 0 and 1, a string a line: {strange!r} is neither")
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
    """The loss of the last label of a string of bits, given as 0 and 1, or else a random one of that length."""
    import torch
    from torch.nn import functional as F

    from rnncli.task import LastStep

    if trained.config.model == "mlp":
        raise UsageError(f"{trained.source} is a feed-forward net, which reads all bits at once")
    text = text and text.strip()  # the end of a file's line is no bit
    if text is not None and (not text or set(text) - {"0", "1"}):
        raise UsageError(f"--text must be bits such as 0110, not {text!r}")
    random = torch.randint(2, (1, length), generator=torch.Generator().manual_seed(trained.config.seed))
    strings = random if text is None else torch.tensor([[int(bit) for bit in text[:length]]])
    model: Any = trained.model
    batch = sequences(strings.to(trained.device), trained.config.zero)
    inputs = batch.inputs.to(next(model.parameters()).dtype)
    return LastStep(inputs, lambda h: F.cross_entropy(model.output(h), batch.targets[-1]))


def confusion_of(trained: Trained) -> Iterator[Panel]:
    """How often which label was given to what, on what `evaluate` measures on by default."""
    yield confusion(evaluate(trained, EvaluateOptions()))


TASK = Task(
    name="parity",
    summary=OUTLINES["parity"].summary,
    Config=ParityConfig,
    build=build,
    build_model=build_model,
    evaluate=Action(EvaluateOptions, evaluate, "rnn evaluate parity --bits 1000", corpus=evaluated),
    panels={"Confusion": confusion_of},
    presets={"book": BOOK, "foil": FOIL},
    notes={"book": BOOK_NOTE},
    uses={"activations": Action(ActivationOptions, watch, EXAMPLE)},
    last_step=last_step,
    implied_preset=lambda flags: "foil" if flags.get("model") == "mlp" else None,
    example="rnn train parity --cell lstm --bits 20",
)
