"""A package from outside: a task, a verb, an optimizer, a decoding option and a corpus, as an author writes them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from rnncli.cli.screen import print_json, print_text
from rnncli.cli.verb import Verb
from rnncli.data.corpora import CORPORA, load_corpus
from rnncli.data.sources import Generated
from rnncli.data.texts import GivenTexts
from rnncli.models.sampling import DecodingOption
from rnncli.results import Classified
from rnncli.settings import option, retuned
from rnncli.task import Action, Task, Trained
from rnncli.training.optimizers import OptimizerKind
from rnncli.training.settings import RecurrentSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnncli.data.batching import Batch
    from rnncli.training.experiment import Experiment

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LABELS = ("other", "vowel")
PLUMS = [[("a", "DET"), ("ripe", "ADJ"), ("plum", "NOUN")], [("eat", "VERB"), ("it", "PRON")]] * 6


def write_plums() -> str:
    return "\n".join(" ".join(word for word, _ in sentence) for sentence in PLUMS)


CORPUS = Generated("plums", "twelve lines on plums, with parts of speech", write_plums, lambda: PLUMS)


@dataclass(frozen=True, kw_only=True)
class VowelSettings(RecurrentSettings):
    panel: ClassVar[str] = "Vowels"

    corpus: tuple[str, ...] = option((), "Texts with the words to learn.", suggest=CORPORA)
    hidden: str = retuned(RecurrentSettings, "hidden", "4")
    batch_size: int = retuned(RecurrentSettings, "batch_size", 2)
    epochs: int = retuned(RecurrentSettings, "epochs", 2)


def encode(words: list[str]) -> "Tensor":
    """Words of the same length as letters, (T, B, 26)."""
    import torch
    from torch.nn import functional as F

    numbers = torch.tensor([[LETTERS.index(letter) for letter in word] for word in words])
    return F.one_hot(numbers.T, len(LETTERS)).float()


def words_of(settings: VowelSettings) -> list[str]:
    return sorted({word for spec in settings.corpus for word in load_corpus(spec).text.split()})


def batch_of(words: list[str]) -> "Batch":
    """The label of a word at each step: whether it begins with a vowel."""
    import torch

    from rnncli.data.batching import Batch

    labels = torch.tensor([int(word[0] in "aeiou") for word in words])
    return Batch(encode(words), labels.expand(len(words[0]), -1).contiguous())


def build(settings: VowelSettings, device: str) -> "Experiment":
    from rnncli.training.experiment import Experiment
    from rnncli.training.losses import prediction_loss

    words = words_of(settings)

    def batches(epoch: int, begin: int = 0) -> Iterator["Batch"]:
        return (batch_of([word]) for word in words[begin:])

    return Experiment(
        model=build_model(settings, {}).to(device),
        batches=batches,
        batches_per_epoch=len(words),
        loss=prediction_loss,
        validate=lambda model: measure(model, words),
        about=f"{len(words)} words",
        payload={"corpus": " + ".join(settings.corpus)},
    )


def build_model(settings: VowelSettings, payload: Mapping[str, Any]) -> "nn.Module":
    from rnncli.models.tagger import Tagger

    return Tagger(len(LETTERS), len(LABELS), settings.shape, backend=settings.backend)


def measure(model: "nn.Module", words: list[str]) -> dict[str, float]:
    import torch

    from rnncli.training.losses import prediction_loss

    with torch.inference_mode():
        losses = [float(prediction_loss(model, batch_of([word]), None).loss_sum) / len(word) for word in words]
    return {"loss": sum(losses) / len(words)}


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    corpus: tuple[str, ...] = option((), "Other texts.")


def evaluate(trained: Trained, options: EvaluateOptions) -> dict[str, float]:
    return measure(trained.model, words_of(trained.config))


def classify(trained: Trained, options: GivenTexts) -> list[Classified]:
    found = []
    for text in options.spaced:
        logits, _ = trained.model(encode([text]))
        probs = dict(zip(LABELS, logits[-1, 0].softmax(-1).tolist(), strict=True))
        label = max(probs, key=lambda each: probs[each])
        found.append(Classified(text, label, probs, []))
    return found


TASK = Task(
    name="vowels",
    summary="Learn whether a word begins with a vowel.",
    Config=VowelSettings,
    build=build,
    build_model=build_model,
    evaluate=Action(EvaluateOptions, evaluate, "rnn evaluate vowels"),
    corpora=(("plums",),),
    uses={"classify": Action(GivenTexts, classify, 'rnn classify "apple"')},
)


def make_signs(groups: list[dict[str, Any]], settings: Any) -> Any:
    """Steps of the size lr / steps along the sign of averaged gradients; the count of steps is a plain number."""
    import torch

    class Signs(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self, closure: None = None) -> None:
            for group in self.param_groups:
                for each in group["params"]:
                    state = self.state[each]
                    state["steps"] = state.get("steps", 0) + 1
                    state["mean"] = state.get("mean", torch.zeros_like(each)).lerp(each.grad, 1 - settings.beta1)
                    each.sub_(state["mean"].sign(), alpha=group["lr"] / state["steps"])

    return Signs(groups, {"lr": settings.lr})


SIGNS = OptimizerKind(make_signs, {"lr": 0.01, "beta1": 0.5})


def nth_best(logits: "Tensor", sampling: Any, pasts: Any) -> "Tensor":
    best = logits.topk(int(sampling["rank"]), dim=-1).values[:, -1:]
    return logits.masked_fill(logits != best, -float("inf"))


RANK = DecodingOption(1, "Write the n-th likeliest token each time; 1: any.", nth_best, {"least": 1}, searches=True)


def shout(
    run: Annotated[str, typer.Argument(help="The run.")],
    word: Annotated[str, typer.Argument(help="The word.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Label a word, loudly."""
    import rnncli

    model = rnncli.load(run)
    (found,) = model.action("classify").run(model, GivenTexts(texts=(word,)))
    if as_json:
        print_json({"checkpoint": str(model.source), "label": found.label})
    else:
        print_text(found.label.upper())


VERB = Verb(shout, "rnn shout my-run apple")

NOT_A_TASK = "this is text"
