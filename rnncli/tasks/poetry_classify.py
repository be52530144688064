"""poetry-classify: whose line is it? One label per text, measured by cross-validation on texts held out of training."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rnncli.data.folds import clusters, stratified_folds
from rnncli.data.holding_out import ONE_OF, HoldOut, HoldOutSettings, hold_out_option, spread
from rnncli.data.suggested import corpus_names
from rnncli.data.table_settings import TableSettings, refuse_unused
from rnncli.data.tables import separator_of
from rnncli.data.texts import GivenTexts
from rnncli.errors import UsageError, warn
from rnncli.labelling.inputs import TokenInputs, inputs_of, lexicon_of, tags_if, words_of_all
from rnncli.labelling.settings import (
    FINE_TUNING,
    LabelledOptions,
    LabellingSettings,
    record_words,
    resolve_labelling,
    vectors_note,
)
from rnncli.labelling.warm_start import copy_encoder, inherited_shape, start_model, start_note, token_part
from rnncli.models import POOLINGS
from rnncli.panels import Panel, confusion
from rnncli.recording import EXAMPLE, ActivationOptions, Recording
from rnncli.results import Classified, Influence
from rnncli.settings import option, retuned
from rnncli.task import Action, Quick, Rows, Task, Trained
from rnncli.tasks import OUTLINES, task_of
from rnncli.training.settings import BOOK_TRAINING, RecurrentSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnncli.data.features import Features
    from rnncli.data.labelled import LabelledTexts
    from rnncli.labelling.classical import Baseline
    from rnncli.training.experiment import Experiment, Metrics
    from rnncli.warm_start import Start


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig(TableSettings, HoldOutSettings, LabellingSettings):
    """Settings of poetry-classify; the defaults are the best found for one minute on two cores."""

    panel: ClassVar[str] = "Texts"

    corpus: tuple[str, ...] = option(
        (), "Name or NAME=FILE, one per label; or a table, such as a CSV or TSV file.", text=True, suggest=corpus_names
    )
    text_column: str = option("text", "Column with the text: name or number.")
    label_column: str = option("label", "Column with the label: name or number.")
    header: bool = retuned(TableSettings, "header", True)
    distinct: bool = option(True, "Use repeated lines once, or as often as they occur.", expert=True)
    samples_per_class: int = option(0, "Use only the first N texts of each label; 0: all.", least=0, expert=True)
    folds: int = option(5, "Folds of the cross-validation; 0: none.", least=0, most=100)
    group: str = option(
        "line", "Unit that no split divides, and that is scored as well: line, stanza, or N lines.", expert=True
    )
    hold_out: float = hold_out_option(
        0.0, "Without folds: share held out, evenly spread; 0: none.", whole="hold_out_count"
    )
    hold_out_every: int = option(0, "Without folds: hold out every N-th text.", least=0, instead_of=ONE_OF, expert=True)
    hold_out_count: int = option(
        0, "Without folds: hold out N random texts (--seed).", least=0, instead_of=ONE_OF, expert=True
    )
    class_weights: bool = option(False, "Give rare labels more weight.", expert=True)
    bag: bool = option(True, "Also feed the sum of the input vectors to the output layer.", expert=True)
    pooling: str = option(
        "last",
        "States that the output layer reads: last, or concat: also the maximum and the mean over all steps.",
        choices=POOLINGS,
        expert=True,
    )
    ensemble: int = option(3, "Nets whose predictions are averaged.", least=1, most=100)
    hidden: str = retuned(RecurrentSettings, "hidden", "64")
    epochs: int = retuned(RecurrentSettings, "epochs", 12)
    batch_size: int = retuned(RecurrentSettings, "batch_size", 64)
    lr: float = retuned(RecurrentSettings, "lr", 4e-3)
    weight_decay: float = retuned(RecurrentSettings, "weight_decay", 0.01)

    @property
    def splits(self) -> int:
        """Number of independent splits: one trains on all texts, and one per fold on the texts outside of it."""
        return self.folds + 1


TAGS = {"cell": "gru:reset-after", "ensemble": 6, "word_dropout": 0.0, "lr": 8e-3, "weight_decay": 0.1, "epochs": 15}
"""For tags only, which overfit less."""

ULMFIT = {**FINE_TUNING, "pooling": "concat", "bag": False}

BOOK = {
    **BOOK_TRAINING,
    "features": ("tags",),
    "ensemble": 1,
    "bag": False,
    "pooling": "last",
    "cell": "elman",
    "hidden": "30",
    "activation": "relu",
    "bidirectional": False,
    "word_dropout": 0.0,
    "input_dropout": 0.0,
    "output_dropout": 0.0,
    "label_smoothing": 0.0,
    "class_weights": False,
    "distinct": False,
    "samples_per_class": 500,
    "group": "line",
    "folds": 0,
    **HoldOut(number=10).settings,
    "lr": 1e-6,
    "schedule": "exponential",
    "decay": 0.9999,
    "epochs": 1000,
}


POETS = (("frost", "poe"), ("hillside", "nocturne"))
"""The book's poets, and embedded voices as a substitute."""


def resolve_defaults(config: ClassifyConfig) -> Any:
    """As `resolve_labelling`; also raises UsageError for a setting of tables if there are no tables."""
    refuse_unused(config, bool(config.separator) or any(map(separator_of, config.corpus)))
    return resolve_labelling(config, task_of)


class Divided(NamedTuple):
    """N labelled texts in S splits; `held[n, s]` holds text n out of the training of split s."""

    data: "LabelledTexts"
    classes: list[str]
    groups: list[int]  # the group of each text
    held: "Tensor"  # (N, S), bool

    @property
    def answers(self) -> "Tensor":
        """The label ids, (N,)."""
        import torch

        numbers = {label: number for number, label in enumerate(self.classes)}
        return torch.tensor([numbers[label] for label in self.data.labels])

    def seen(self, split: int) -> "Tensor":
        """The numbers of the texts that a split trains on."""
        return (~self.held[:, split]).nonzero().flatten()


def read_texts(config: ClassifyConfig, *, to_learn: bool) -> "LabelledTexts":
    """The texts that the settings select; raises as `read_labelled`."""
    from rnncli.data.labelled import read_labelled

    data = read_labelled(config.corpus, config.text_column, config.label_column, config.layout, to_learn=to_learn)
    data = data.distinct() if config.distinct else data
    return data.first_of_each(config.samples_per_class) if config.samples_per_class else data


def divide(config: ClassifyConfig, *, to_learn: bool = True) -> Divided:
    """Read the texts and divide them; texts of a group and equal texts are never on both sides of a split.

    Raises UsageError for a split that leaves a label without training texts.
    """
    import torch

    data = read_texts(config, to_learn=to_learn)
    groups = clusters(_group_keys(config.group, data))
    held = torch.zeros(len(data.texts), config.splits, dtype=torch.bool)
    if config.folds:
        if config.folds == 1 or config.held_out:
            raise UsageError("--folds must be 0 or at least 2; --hold-out goes with --folds 0")
        together = clusters(data.keys, groups)
        for label in data.classes:
            count = len({each for each, its in zip(together, data.labels, strict=True) if its == label})
            if count < config.folds:
                raise UsageError(
                    f"label {label!r} has too few groups of texts ({count}) for {config.folds} folds: "
                    "choose fewer folds, smaller groups, or --folds 0"
                )
        folds = stratified_folds(data.labels, together, config.folds, config.seed)
        held[torch.arange(len(folds)), torch.tensor(folds) + 1] = True
    elif config.held_out:
        rows = _held_out_rows(config, clusters(data.keys, groups))
        if len(rows) == len(data.texts) or config.hold_out_count >= len(data.texts):
            raise UsageError(f"{config.held_out} leaves nothing to learn from {len(data.texts):,} texts: hold out less")
        held[rows, 0] = True
    divided = Divided(data, data.classes, groups, held)
    for split in range(held.shape[1]):
        if len(divided.answers[divided.seen(split)].unique()) < len(divided.classes):
            raise UsageError(
                "a split would hold out every example of a label: hold out less, or use fewer folds or smaller groups"
            )
    return divided


def _held_out_rows(config: ClassifyConfig, together: Sequence[int]) -> list[int]:
    """The texts to hold out, in whole clusters: evenly spread, or at most `hold_out_count` random ones."""
    import random

    members: dict[int, list[int]] = {}
    for item, cluster in enumerate(together):
        members.setdefault(cluster, []).append(item)
    groups = list(members.values())
    if not config.hold_out_count:
        chosen = spread([len(items) for items in groups], config.held_out.share_of(len(together)))
        return [item for place in chosen for item in groups[place]]
    random.Random(config.seed).shuffle(groups)
    drawn: list[int] = []
    for items in groups:
        if len(drawn) + len(items) <= config.hold_out_count:
            drawn += items
    return drawn


def _group_keys(group: str, data: "LabelledTexts") -> Sequence[object]:
    """A key per text, which the texts of a group share."""
    if group == "line":
        return list(range(len(data.texts)))
    if group == "stanza":
        return data.stanzas
    if group.isdecimal() and 0 < int(group) <= 1_000_000:
        return [(corpus, line // int(group)) for corpus, line in data.places]
    raise UsageError(f"--group must be line, stanza, or a number of lines, not {group!r}")


def encode(config: ClassifyConfig, payload: Mapping[str, Any], texts: Sequence[str]) -> "Features":
    """The features of texts; raises as `Inputs.split_all` and `Inputs.tags`."""
    inputs = inputs_of(config, payload)
    return inputs.encode(inputs.split_all(texts))


def build(config: ClassifyConfig, device: str) -> "Experiment":
    """Read and divide the texts, and make new nets for each split."""
    from rnncli.data.batching import IGNORED
    from rnncli.data.features import Labelled
    from rnncli.training.experiment import OWN_SHAPES, BestPart, Experiment
    from rnncli.training.losses import committee_loss

    divided, start = divide(config), start_model(config, task_of)
    payload = {
        "corpus": divided.data.name,
        "fingerprint": divided.data.fingerprint,
        "classes": divided.classes,
        **(token_part(start) if start else _lexicon_part(config, divided)),
    }
    features = encode(config, payload, divided.data.texts)
    model: Any = build_model(config, payload)
    if start:
        copy_encoder(start, task_of, model.members)
    else:
        for place, member in enumerate(model.members):
            member.reader.learn(features.counts(divided.seen(place // config.ensemble)), config.min_count)
    model.to(device)
    weights = (
        class_weights(divided).repeat_interleave(config.ensemble, dim=0).to(device) if config.class_weights else None
    )
    held = divided.held.repeat_interleave(config.ensemble, dim=1)
    targets = divided.answers[:, None].expand_as(held).masked_fill(held, IGNORED)
    used = (~held).any(1).nonzero().flatten()  # by at least one net; without folds, all but the held-out texts
    training = Labelled(features.only(used), targets[used], by_word=False, device=device)
    return Experiment(
        model=model,
        batches=lambda epoch, begin=0: training.shuffled(config.step_size, config.seed, epoch, begin),
        batches_per_epoch=-(-len(used) // config.step_size),
        about=_about(config, divided),
        loss=partial(committee_loss, smoothing=config.label_smoothing, weights=weights),
        validate=lambda model: measure(_scores(model, features, config), divided),
        uses_all=True,
        no_graphs=OWN_SHAPES,
        independent_parts=lambda committee: committee.members,
        monitor="accuracy",
        newest_is_best=True,
        payload=payload,
        begin=lambda: (
            _start_note(config, payload, start, divided) if start else vectors_note(config, payload, model.members)
        ),
        best_part=BestPart(lambda name: int(name.split(".")[1]) < config.ensemble, {"splits": 1}),
    )


def _lexicon_part(config: ClassifyConfig, divided: Divided) -> dict[str, Any]:
    lines = words_of_all(divided.data.texts)
    return {"lexicon": lexicon_of(config, lines, tags_if(lines, with_tags="tags" in config.features) or [])}


def _start_note(config: ClassifyConfig, payload: Mapping[str, Any], start: "Start", divided: Divided) -> str:
    """A note on the language model that the nets start from, and on what the folds then measure."""
    inputs = inputs_of(config, payload)
    assert isinstance(inputs, TokenInputs)
    note = start_note(start, inputs, chain.from_iterable(inputs.split_all(divided.data.texts)))
    return f"{note}; the folds are fair only if it has not read the texts that they hold out" if config.folds else note


def class_weights(divided: Divided) -> "Tensor":
    """The weight of each label in each split, (S, K): inverse to its frequency among the split's training texts."""
    import torch

    counts = torch.stack([divided.answers[divided.seen(split)].bincount() for split in range(divided.held.shape[1])])
    return counts.sum(1, keepdim=True) / (counts.shape[1] * counts)


def _about(config: ClassifyConfig, divided: Divided) -> str:
    counts = {label: divided.data.labels.count(label) for label in divided.classes}
    counted = ", ".join(f"{count:,} {label}" for label, count in counts.items())
    held = int(divided.held[:, 0].sum())
    how = (
        f"{config.folds} folds"
        if config.folds
        else f"{held} held out"
        if held
        else "none held out, measured on the training texts"
    )
    what = "distinct texts" if config.distinct else "texts"
    from rnncli.data.corpora import first_here

    by_default = config.corpus == POETS[-1] == first_here(POETS)
    other = f"; for the book's poets: rnn data get {' '.join(POETS[0])}" if by_default else ""
    rows = f"{divided.data.rows:,} rows, " if divided.data.rows else ""
    return f"{divided.data.name}: {rows}{len(divided.data.texts):,} {what} ({counted}), {how}{other}"


def build_model(config: ClassifyConfig, payload: Mapping[str, Any]) -> "nn.Module":
    """Untrained nets: an ensemble for all texts, then, if the file has them, one per fold for the other texts."""
    from rnncli.models.classifier import Classifier, Committee

    return Committee(
        [
            Classifier(
                config.reader(payload),
                len(payload["classes"]),
                config.shape,
                pooling=config.pooling,
                bag=config.bag,
                dropout=config.output_dropout,
                backend=config.backend,
            )
            for _ in range(payload.get("splits", config.splits) * config.ensemble)
        ]
    )


def _scores(model: Any, features: "Features", config: ClassifyConfig) -> "Tensor":
    """Log-probabilities (N, S, K) of N texts by the S splits; the nets of an ensemble are averaged."""
    import torch

    from rnncli.data.batching import built
    from rnncli.data.features import Labelled

    device = next(model.parameters()).device
    data = Labelled(features, torch.zeros(len(features.lengths)), by_word=False, device=str(device))
    model.eval()
    with torch.inference_mode():
        rows = torch.cat([model(batch.inputs, None, batch.lengths)[0] for batch in built(data.in_order(256))])
    votes = rows[data.order.argsort()].cpu().log_softmax(-1)
    return votes.view(len(votes), -1, config.ensemble, votes.shape[-1]).logsumexp(2) - math.log(config.ensemble)


def measure(scores: "Tensor", divided: Divided) -> "Metrics":
    """Loss, accuracy and balanced accuracy on held-out texts, each scored by the split that did not train on it.

    scores (N, S, K). With folds, also their standard deviation over folds; with groups, also the same metrics of
    groups, by the sums of their texts' scores. If nothing was held out, all texts are scored by the first split.
    """
    import torch

    from rnncli.training.metrics import label_metrics

    rows, splits = held_out(divided)
    selected, answers = scores[rows, splits], divided.answers[rows]
    loss = -selected.gather(1, answers[:, None]).mean()
    metrics = {"loss": float(loss), **label_metrics(selected, answers)}
    if len(set(splits.tolist())) > 1:
        each = [label_metrics(selected[splits == fold], answers[splits == fold]) for fold in splits.unique()]
        spread = torch.tensor([[fold["accuracy"], fold["balanced_accuracy"]] for fold in each]).std(0).tolist()
        metrics |= dict(zip(("accuracy_spread", "balanced_spread"), spread, strict=True))
    groups = torch.tensor(divided.groups)[rows]
    if len(groups.unique()) < len(groups):
        summed, group_answers = group_scores(selected, answers, groups)
        metrics |= {f"group_{name}": value for name, value in label_metrics(summed, group_answers).items()}
    return metrics


def held_out(divided: Divided) -> tuple["Tensor", "Tensor"]:
    """The numbers of the texts to measure on, and for each the split that held it out.

    If nothing was held out, these are all texts and the first split.
    """
    import torch

    rows, splits = divided.held.nonzero(as_tuple=True)
    if len(rows):
        return rows, splits
    return torch.arange(len(divided.held)), torch.zeros(len(divided.held), dtype=torch.long)


def group_scores(scores: "Tensor", answers: "Tensor", groups: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Sums of scores (N, K) over the texts of each group, and the label ids of the groups."""
    _, places = groups.unique(return_inverse=True)
    count = int(places.max()) + 1
    return scores.new_zeros(count, scores.shape[1]).index_add(0, places, scores), answers.new_zeros(count).scatter(
        0, places, answers
    )


def training_texts(trained: Trained, instead: str = "give --corpus") -> Divided:
    """The training texts, read and divided again; raises UsageError if they changed or cannot be read again."""
    with trained.reading_again(instead):
        found = divide(trained.config)
    trained.check_unchanged(found.data.name, found.data.fingerprint, instead)
    return found


def evaluation(trained: Trained, options: LabelledOptions) -> Divided:
    """The texts to measure on; raises UsageError for unknown labels, and as `training_texts`."""
    config: ClassifyConfig = trained.config
    if options.corpus:
        undivided: dict[str, Any] = {"folds": 0, "samples_per_class": 0, **HoldOut().settings}
        other = replace(config, corpus=options.corpus, **undivided)
        found = divide(other, to_learn=False)
        unknown = set(found.classes) - set(trained.payload["classes"])
        if unknown:
            known = ", ".join(trained.payload["classes"])
            raise UsageError(f"{trained.source} knows the labels {known}, not {min(unknown)}: NAME=FILE gives a label")
        return found._replace(classes=list(trained.payload["classes"]))
    return training_texts(trained)


def with_folds(trained: Trained) -> "nn.Module":
    """The nets with those of the folds, which a run keeps once: in `last`, not in `best`.

    Raises UsageError for a `best` that has no `last` of the same run next to it. A `last` of a later step is an
    RnnWarning.
    """
    from rnncli.restoring import rebuild
    from rnncli.training.runs import BEST, LAST, Run, read_for_resume

    if trained.payload.get("splits", trained.config.splits) == trained.config.splits:
        return trained.model
    folder, ours = trained.source.parent, trained.header["progress"]
    found, file = read_for_resume(Run(folder)) if (folder / LAST).exists() else (None, folder / LAST)
    theirs = found.header["progress"] if found else {}
    if found is None or theirs["history"][: len(ours["history"])] != ours["history"]:
        raise UsageError(
            f"{trained.source} holds the nets that learned from all texts; those of the folds are in {LAST} of its "
            "run: measure the run, or give --corpus"
        )
    if theirs["step"] != ours["step"]:
        warn(
            f"the nets of the folds are those of step {theirs['step']:,}, in {file.name}; {BEST} is of {ours['step']:,}"
        )
    return rebuild(TASK, found, file).model.to(trained.device).eval()


def evaluate(trained: Trained, options: LabelledOptions) -> dict[str, Any]:
    """Metrics of cross-validation, or on other texts, with the confusion matrix."""
    from rnncli.training.metrics import Confusion

    divided = evaluation(trained, options)
    model = trained.model if options.corpus else with_folds(trained)
    scores = _scores(model, encode(trained.config, trained.payload, divided.data.texts), trained.config)
    rows, splits = held_out(divided)
    confusion = Confusion.of(divided.classes, divided.answers[rows], scores[rows, splits].argmax(-1))
    return {**measure(scores, divided), "texts": len(rows), "confusion": confusion.plain}


def baselines(trained: Trained, options: LabelledOptions) -> Rows:
    """Simple classifiers on the same folds, each trained on the same texts as the net of the fold."""
    from rnncli.labelling.classical import baseline_classifiers

    if options.corpus:
        raise UsageError("--baselines are measured on the folds of training: leave --corpus out")
    divided = evaluation(trained, options)
    found = baseline_classifiers(divided.data.texts, trained.config.class_weights)
    return {baseline.name: _baseline_metrics(baseline, divided) for baseline in found}


def _baseline_metrics(baseline: "Baseline", divided: Divided) -> "Metrics":
    """Metrics of a simple classifier that is trained for each split; none if it is unavailable."""
    import torch

    if baseline.scorer is None:
        return {}
    answers, (rows, splits) = divided.answers, held_out(divided)
    scores = torch.zeros(*divided.held.shape, len(divided.classes), dtype=torch.double)
    for split in splits.unique().tolist():
        seen, held = divided.seen(split).tolist(), rows[splits == split].tolist()
        training, others = ([baseline.texts[row] for row in part] for part in (seen, held))
        scores[held, split] = torch.from_numpy(baseline.scorer(training, answers[seen].tolist(), others)).double()
    metrics = measure(scores, divided)
    return {name: value for name, value in metrics.items() if name != "loss" or baseline.has_probabilities}


def evaluation_name(trained: Trained, options: LabelledOptions) -> str:
    """The name of the data that `evaluate` measures on."""
    if options.corpus:
        return " + ".join(options.corpus)
    config: ClassifyConfig = trained.config
    if config.folds:
        return f"{trained.payload['corpus']}, {config.folds} folds, each by the net that did not train on it"
    return f"{trained.payload['corpus']}, {'held-out texts' if config.held_out else 'training texts'}"


MAX_ERASED = 300
"""Maximum number of words for erasure, which reads a text once per word."""


def classify(trained: Trained, options: GivenTexts) -> list[Classified]:
    """Label texts with the nets that were trained on all texts; erasure shows the influence of each word.

    Erasure (Li et al. 2016, arXiv:1612.08220): leave out one word at a time, and compute the change of the label's
    log-odds. In texts of more than MAX_ERASED words, every influence is 0. Raises as `GivenTexts.lines`.
    """
    return [_classified(trained, text) if text else Classified(text, None, {}, []) for text in options.spaced]


def _classified(trained: Trained, text: str) -> Classified:
    import torch

    from rnncli.models.classifier import Committee

    config: ClassifyConfig = trained.config
    model: Any = trained.model
    final = Committee(model.members[: config.ensemble])  # the nets that were trained on all texts
    inputs = inputs_of(config, trained.payload)
    (words,) = inputs.split_all([text])
    tags = (inputs.tags([words]) or [[""] * len(words)])[0]
    without = range(len(words)) if 1 < len(words) <= MAX_ERASED else ()
    kept = [range(len(words)), *([at for at in range(len(words)) if at != gone] for gone in without)]
    features = inputs.encode(
        [[words[at] for at in places] for places in kept], [[tags[at] for at in places] for places in kept]
    )
    probs = _scores(final, features, config)[:, 0].double().exp()
    label = int(probs[0].argmax())
    log_odds = torch.logit(probs[:, label], eps=1e-9)
    influences = (log_odds[0] - log_odds[1:]).tolist() or [0.0] * len(words)
    classes = trained.payload["classes"]
    return Classified(
        text,
        classes[label],
        dict(zip(classes, probs[0].tolist(), strict=True)),
        [Influence(word, by) for word, by in zip(inputs.written(text, words), influences, strict=True)],
    )


def held_out_text(trained: Trained) -> Iterator[str]:
    """About 100 of the training's texts, evenly spread over the corpora; raises as `training_texts`."""
    data = training_texts(trained, "give --text").data
    yield from data.texts[:: max(1, len(data.texts) // 100)]


def record_states(trained: Trained, options: ActivationOptions) -> Recording:
    """The states of the first net, which was trained on all texts, after every word; raises as `record_words`."""
    model: Any = trained.model
    return record_words(trained, options, model.members[0], held_out_text)


def confusion_of(trained: Trained) -> Iterator[Panel]:
    """The confusion matrix on the default data of `evaluate`."""
    yield confusion(evaluate(trained, LabelledOptions()))


TASK = Task(
    name="poetry-classify",
    summary=OUTLINES["poetry-classify"].summary,
    Config=ClassifyConfig,
    resolve_defaults=resolve_defaults,
    corpora=POETS,
    build=build,
    build_model=build_model,
    keeps={"fingerprint": None, "classes": None},
    evaluate=Action(LabelledOptions, evaluate, "rnn evaluate poetry-classify --baselines", corpus=evaluation_name),
    baselines=baselines,
    panels={"Confusion": confusion_of},
    uses={
        "classify": Action(GivenTexts, classify, 'rnn classify "the gate stood open and the field was white"'),
        "activations": Action(ActivationOptions, record_states, EXAMPLE),
    },
    presets={"book": BOOK, "tags": TAGS, "ulmfit": ULMFIT},
    inherited=partial(inherited_shape, task_of),
    implied_preset=lambda flags: "tags" if flags.get("features") == ("tags",) else None,
    example="rnn train poetry-classify --corpus reviews.tsv",
    quick=Quick(30, ("hillside", "nocturne")),
)
