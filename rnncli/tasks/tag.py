"""tag: a label for every word of a sentence, such as its part of speech."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rnncli.data.holding_out import HoldOutSettings
from rnncli.data.splitting import SPLITS, Words, kept_whole, split_at_blanks, split_like, words_of
from rnncli.data.suggested import corpus_names
from rnncli.data.table_settings import TableSettings, refuse_unused
from rnncli.data.texts import GivenTexts
from rnncli.errors import UsageError
from rnncli.labelling.inputs import (
    TokenInputs,
    as_written,
    check_lengths,
    inputs_of,
    lexicon_of,
    tags_if,
    words_of_all,
)
from rnncli.labelling.settings import (
    FINE_TUNING,
    LabelledOptions,
    LabellingSettings,
    record_words,
    resolve_labelling,
    vectors_note,
)
from rnncli.labelling.warm_start import copy_encoder, inherited_shape, start_model, start_note, token_part
from rnncli.panels import Panel, confusion
from rnncli.recording import EXAMPLE, ActivationOptions, Recording
from rnncli.results import Tagged
from rnncli.settings import option, retuned
from rnncli.task import Action, Quick, Rows, Task, Trained
from rnncli.tasks import OUTLINES, task_of
from rnncli.terminal import counted
from rnncli.training.entities import entity_metrics, is_iob
from rnncli.training.settings import RecurrentSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnncli.data.features import Features
    from rnncli.data.labelled import TaggedSentences
    from rnncli.training.experiment import Experiment, Metrics
    from rnncli.warm_start import Start

LARGE = {"epochs": 6, "batch_size": 32}
"""For a million words."""

LARGE_FROM = 5_000_000
"""Minimum size in bytes of a registered corpus that implies `LARGE`."""

VOICES = ("hillside", "nocturne")


@dataclass(frozen=True, kw_only=True)
class TagConfig(TableSettings, HoldOutSettings, LabellingSettings):
    """Settings of tag; the defaults are the best found for the Brown corpus and a few minutes on two cores."""

    panel: ClassVar[str] = "Sentences"

    corpus: tuple[str, ...] = option(
        VOICES,
        "A corpus with tags, such as brown, or a file with one word and label per line.",
        text=True,
        suggest=corpus_names,
    )
    columns: str = option(
        "", "Columns of a file with the word and its label, by name or number, such as 1,2 or form,upos; else detected."
    )
    word_size: int = retuned(LabellingSettings, "word_size", 64)
    char_size: int = retuned(LabellingSettings, "char_size", 64)
    word_dropout: float = retuned(LabellingSettings, "word_dropout", 0.1)
    char_dropout: float = retuned(LabellingSettings, "char_dropout", 0.0)
    input_dropout: float = retuned(LabellingSettings, "input_dropout", 0.4)
    output_dropout: float = retuned(LabellingSettings, "output_dropout", 0.5)
    hidden: str = retuned(RecurrentSettings, "hidden", "128")
    epochs: int = retuned(RecurrentSettings, "epochs", 20)
    batch_size: int = retuned(RecurrentSettings, "batch_size", 16)
    clip: float = retuned(RecurrentSettings, "clip", 5.0)
    warmup: float = retuned(RecurrentSettings, "warmup", 0.02)
    lr: float = retuned(RecurrentSettings, "lr", 4e-3)
    weight_decay: float = retuned(RecurrentSettings, "weight_decay", 0.01)


class Split(NamedTuple):
    """Labelled sentences for training, and held-out ones."""

    name: str
    training: "TaggedSentences"
    held_out: "TaggedSentences"
    fingerprint: str
    note: str  # how its files were read

    @property
    def classes(self) -> list[str]:
        """The distinct labels in alphabetical order."""
        labels = (*self.training.labels, *self.held_out.labels)
        return sorted({label for sentence in labels for label in sentence})


def resolve_defaults(config: TagConfig) -> Any:
    """As `resolve_labelling`; also raises UsageError for a setting of column files if there are none."""
    from rnncli.data.corpora import CORPORA

    refuse_unused(config, any(spec not in CORPORA for spec in config.corpus))
    return resolve_labelling(config, task_of)


def implied_preset(flags: Mapping[str, Any]) -> str | None:
    """The preset `large` for a large registered corpus, such as brown."""
    from rnncli.data.corpora import CORPORA

    known = [CORPORA[spec] for spec in flags.get("corpus", ()) if spec in CORPORA]
    return "large" if any(entry.size >= LARGE_FROM for entry in known) else None


def read_split(config: TagConfig) -> Split:
    """Read the sentences and hold some out; raises as `read_tagged`, and UsageError if none is left to train on."""
    from rnncli.data.labelled import read_tagged

    data = read_tagged(config.corpus, config.columns, config.layout)
    check_lengths(data.words)
    held = config.held_out.rows(len(data.words))
    kept = sorted(set(range(len(data.words))) - set(held))
    if not kept:
        raise UsageError(
            f"{data.name} has {counted(len(held), 'sentence')}: with {config.held_out} none is left to learn"
        )
    return Split(data.name, data.only(kept), data.only(held), data.fingerprint, data.note)


def build(config: TagConfig, device: str) -> "Experiment":
    """Read the sentences, and make a new tagger."""
    from rnncli.data.features import Labelled
    from rnncli.training.experiment import OWN_SHAPES, Experiment
    from rnncli.training.losses import prediction_loss

    split, start = read_split(config), start_model(config, task_of)
    payload = {
        "corpus": split.name,
        "fingerprint": split.fingerprint,
        "classes": split.classes,
        **(token_part(start) if start else _lexicon_part(config, split.training.words)),
        "known": sorted({word.lower() for words in split.training.words for word in words}),
        "whole": kept_whole(split.training.words),
    }
    read = _encode(config, payload, split.training)
    targets = _targets(read, _answers(split.classes, split.training))
    training = Labelled(read, targets, by_word=True, device=device)
    measured = split.held_out if split.held_out.words else split.training
    features = _encode(config, payload, measured)
    model: Any = build_model(config, payload)
    if start:
        copy_encoder(start, task_of, [model])
    return Experiment(
        model=model.to(device),
        begin=lambda: (
            _start_note(config, payload, start, split.training) if start else vectors_note(config, payload, [model])
        ),
        batches=lambda epoch, begin=0: training.shuffled(config.step_size, config.seed, epoch, begin),
        batches_per_epoch=-(-len(split.training.words) // config.step_size),
        about=_about(split),
        loss=partial(prediction_loss, smoothing=config.label_smoothing),
        uses_all=True,
        no_graphs=OWN_SHAPES,
        validate=lambda model: _without_dicts(measure(score(model, features), measured, split.classes)),
        monitor="accuracy",
        newest_is_best=True,
        payload=payload,
    )


def _lexicon_part(config: TagConfig, lines: Sequence[Words]) -> dict[str, Any]:
    return {"lexicon": lexicon_of(config, lines, tags_if(lines, with_tags="tags" in config.features) or [])}


def _start_note(config: TagConfig, payload: Mapping[str, Any], start: "Start", data: "TaggedSentences") -> str:
    inputs = inputs_of(config, payload)
    assert isinstance(inputs, TokenInputs)
    tokens = chain.from_iterable(map(inputs.tokens_of, data.words))
    return start_note(start, inputs, chain.from_iterable(tokens))


def _encode(config: TagConfig, payload: Mapping[str, Any], data: "TaggedSentences") -> "Features":
    return inputs_of(config, payload).encode_words(data.words)


def _targets(features: "Features", answers: "Tensor") -> "Tensor":
    """The label ids (P,) of all steps, from those of the labelled ones; IGNORED at the others."""
    from rnncli.data.batching import IGNORED

    if features.labelled is None:
        return answers
    return answers.new_full(features.labelled.shape, IGNORED).masked_scatter(features.labelled, answers)


def _answers(classes: Sequence[str], data: "TaggedSentences") -> "Tensor":
    """The label ids of all words, (P,)."""
    import torch

    numbers = {label: number for number, label in enumerate(classes)}
    return torch.tensor([numbers[label] for labels in data.labels for label in labels])


def _about(split: Split) -> str:
    words = sum(map(len, split.training.words))
    held_out = (
        f"{len(split.held_out.words):,} held out"
        if split.held_out.words
        else "none held out, measured on the training sentences"
    )
    word, label = split.training.words[0][0], split.training.labels[0][0]
    return (
        f"{split.name}: {counted(len(split.training.words), 'sentence')} of {words:,} words to learn, {held_out}, "
        f"{len(split.classes)} labels, such as {label} for {word!r}{f' ({split.note})' if split.note else ''}"
    )


def build_model(config: TagConfig, payload: Mapping[str, Any]) -> "nn.Module":
    """An untrained tagger over the payload's lexicon and labels."""
    from rnncli.models.tagger import Tagger

    return Tagger(
        config.reader(payload),
        len(payload["classes"]),
        config.shape,
        dropout=config.output_dropout,
        backend=config.backend,
    )


def score(model: "nn.Module", features: "Features") -> "Tensor":
    """Log-probabilities (N, K) of the labels of all N words, in the order of the sentences."""
    import torch

    from rnncli.data.features import Labelled, Ragged

    device = next(model.parameters()).device
    words = Ragged(torch.zeros_like(features.words), features.lengths)
    data = Labelled(features, words.values, by_word=True, device=str(device))
    model.eval()
    parts, places = [], []
    with torch.inference_mode():
        for rows in data.order.split(256):
            batch = data.rows(rows)
            logits = model(batch.inputs, None, batch.lengths)[0].transpose(0, 1).cpu()
            valid = torch.arange(logits.shape[1]) < features.lengths[rows, None]
            parts.append(logits[valid].log_softmax(-1))
            places.append(words.places(rows))
    every_step = torch.cat(parts)[torch.cat(places).argsort()]
    return every_step if features.labelled is None else every_step[features.labelled]


def measure(scores: "Tensor", data: "TaggedSentences", classes: Sequence[str]) -> dict[str, Any]:
    """Loss and accuracy on all words by scores (P, K); for IOB labels also the metrics of `entity_metrics`."""
    answers, predicted = _answers(classes, data), scores.argmax(-1)
    loss = -scores.gather(1, answers[:, None]).mean()
    metrics = {"loss": float(loss), "accuracy": float((predicted == answers).double().mean())}
    if not is_iob(classes):
        return metrics
    labels = iter([classes[number] for number in predicted.tolist()])
    return {**metrics, **entity_metrics(data.labels, [[next(labels) for _ in words] for words in data.words])}


def _without_dicts(metrics: dict[str, Any]) -> "Metrics":
    """The metrics that are single numbers, as a validation reports them."""
    return {name: value for name, value in metrics.items() if not isinstance(value, dict)}


def training_split(trained: Trained, instead: str = "give --corpus") -> Split:
    """The sentences of training, read again; raises UsageError if they changed or cannot be read again."""
    with trained.reading_again(instead):
        split = read_split(trained.config)
    trained.check_unchanged(split.name, split.fingerprint, instead)
    return split


def evaluation_sentences(trained: Trained, options: LabelledOptions) -> "TaggedSentences":
    """The sentences to measure on: those of another corpus, or the held-out ones; raises UsageError without any."""
    if options.corpus:
        from rnncli.data.labelled import read_tagged

        data = read_tagged(options.corpus, trained.config.columns, trained.config.layout)
        check_lengths(data.words)
        unknown = {label for labels in data.labels for label in labels} - set(trained.payload["classes"])
        if unknown:
            raise UsageError(f"{data.name} has the label {min(unknown)}, which {trained.source} does not know")
        return data
    split = training_split(trained)
    if not split.held_out.words:
        raise UsageError(f"no sentence was held out when {trained.source} was trained: give a --corpus to measure on")
    return split.held_out


def evaluate(trained: Trained, options: LabelledOptions) -> dict[str, Any]:
    """Loss and accuracy on all words, accuracy on words not seen in training, and the confusion matrix.

    For IOB labels, also precision, recall and F1 of whole entities.
    """
    import torch

    from rnncli.training.metrics import Confusion

    data = evaluation_sentences(trained, options)
    scores = score(trained.model, _encode(trained.config, trained.payload, data))
    answers, predicted = _answers(trained.payload["classes"], data), scores.argmax(-1)
    known = set(trained.payload["known"])
    new = torch.tensor([word.lower() not in known for words in data.words for word in words])
    return {
        **measure(scores, data, trained.payload["classes"]),
        "new_word_accuracy": float((predicted == answers)[new].double().mean()) if new.any() else None,
        "words": len(answers),
        "new_words": int(new.sum()),
        "confusion": Confusion.of(trained.payload["classes"], answers, predicted).plain,
    }


def baselines(trained: Trained, options: LabelledOptions) -> Rows:
    """Each word's commonest label, and NLTK's perceptron, trained on the same sentences as the net."""
    from rnncli.labelling.classical import commonest_tag, perceptron

    training = [list(zip(*pair, strict=True)) for pair in training_split(trained).training.pairs]
    measured = evaluation_sentences(trained, options)
    known = set(trained.payload["known"])
    new = [word.lower() not in known for words in measured.words for word in words]
    found = {}
    for name, learn in (("commonest tag", commonest_tag), ("NLTK's perceptron", perceptron)):
        predicted = list(map(learn(training), measured.words))
        hits = [
            guess == label
            for pair in zip(predicted, measured.labels, strict=True)
            for guess, label in zip(*pair, strict=True)
        ]
        right_of_new = sum(hit for hit, is_new in zip(hits, new, strict=True) if is_new)
        metrics = {"accuracy": sum(hits) / len(hits), "new_word_accuracy": right_of_new / max(1, sum(new))}
        entities = entity_metrics(measured.labels, predicted) if is_iob(trained.payload["classes"]) else {}
        found[name] = {**metrics, **entities}
    return found


def evaluation_name(trained: Trained, options: LabelledOptions) -> str:
    """The name of the data that `evaluate` measures on."""
    return " + ".join(options.corpus) or f"{trained.payload['corpus']}, {trained.config.held_out.told('sentence')}"


@dataclass(frozen=True, kw_only=True)
class TagOptions(GivenTexts):
    """The texts to tag, and how they are split into words."""

    split_words: str = option(
        "training",
        "Split sentences into words as in the training file, only at blanks, or like NLTK",
        choices=SPLITS,
    )


def splitter(trained: Trained, how: str = "training") -> Callable[[str], Words]:
    """The function that splits a text into words; older models, which do not store their rules, split like NLTK."""
    if how == "blanks":
        return split_at_blanks
    if how == "training" and "whole" in trained.payload:
        return partial(split_like, whole=trained.payload["whole"])
    return words_of


def tag(trained: Trained, options: TagOptions) -> list[list[Tagged]]:
    """Label every word of each text; a blank line gives an empty list. Raises as `GivenTexts.lines`."""
    from rnncli.data.labelled import TaggedSentences

    all_texts = options.lines if options.split_words == "blanks" else options.spaced
    texts = [text for text in all_texts if text]
    lines = words_of_all(texts, splitter(trained, options.split_words))
    data = TaggedSentences("", lines, [[] for _ in lines])
    best = score(trained.model, _encode(trained.config, trained.payload, data)).exp().max(-1)
    words = (word for text, line in zip(texts, lines, strict=True) for word in as_written(text, line))
    classes = trained.payload["classes"]
    tagged = (
        Tagged(w, classes[k], p) for w, k, p in zip(words, best.indices.tolist(), best.values.tolist(), strict=True)
    )
    following = iter([[next(tagged) for _ in line] for line in lines])
    return [next(following) if text else [] for text in all_texts]


def held_out_text(trained: Trained) -> Iterator[str]:
    """The held-out sentences, or the training sentences if none were held out."""
    split = training_split(trained, "give --text")
    for words in split.held_out.words or split.training.words:
        yield " ".join(words)


def record_states(trained: Trained, options: ActivationOptions) -> Recording:
    """The states of a tagger after every word; raises as `record_words`."""
    return record_words(trained, options, trained.model, held_out_text, splitter(trained))


def confusion_of(trained: Trained) -> Iterator[Panel]:
    """The confusion matrix on the default data of `evaluate`."""
    yield confusion(evaluate(trained, LabelledOptions()))


TASK = Task(
    name="tag",
    summary=OUTLINES["tag"].summary,
    Config=TagConfig,
    resolve_defaults=resolve_defaults,
    build=build,
    build_model=build_model,
    keeps={"fingerprint": None, "classes": None, "known": None},
    evaluate=Action(LabelledOptions, evaluate, "rnn evaluate tag --baselines", corpus=evaluation_name),
    baselines=baselines,
    panels={"Confusion": confusion_of},
    presets={"large": LARGE, "ulmfit": FINE_TUNING},
    inherited=partial(inherited_shape, task_of),
    implied_preset=implied_preset,
    uses={
        "tag": Action(TagOptions, tag, 'rnn tag "the gate stood open and the field was white"'),
        "activations": Action(ActivationOptions, record_states, EXAMPLE),
    },
    example="rnn train tag --corpus sentences.conll",
    quick=Quick(10, ("hillside", "nocturne")),
)
