"""poetry-classify: whose line is it? One label a sequence, measured on folds that hold nothing of what was learned."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from rnncli.data.folds import clusters, stratified_folds
from rnncli.data.holding_out import ONE_OF, HoldOut, HoldOutSettings, hold_out_option, spread
from rnncli.data.suggested import corpus_names
from rnncli.data.table_settings import TableSettings, refuse_unused
from rnncli.data.tables import separator_of
from rnncli.data.texts import GivenTexts
from rnncli.errors import UsageError, warn
from rnncli.labelling.settings import (
    LabelledOptions,
    LabellingSettings,
    as_written,
    lexicon_from,
    lexicon_of,
    settled,
    watch_words,
    words_of_all,
)
from rnncli.panels import Panel, confusion
from rnncli.recording import EXAMPLE, ActivationOptions, Recording
from rnncli.results import Classified, Moved
from rnncli.settings import option, retuned
from rnncli.task import Action, Rows, Task, Trained
from rnncli.tasks import OUTLINES
from rnncli.training.settings import BOOK_TRAINING, RecurrentSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnncli.data.features import Features
    from rnncli.data.labelled import LabelledTexts
    from rnncli.labelling.classical import Rival
    from rnncli.training.experiment import Experiment, Metrics


@dataclass(frozen=True, kw_only=True)
class ClassifyConfig(TableSettings, HoldOutSettings, LabellingSettings):
    """Settings of poetry-classify; the defaults are the best recipe found for a minute of two cores."""

    panel: ClassVar[str] = "Texts"

    corpus: tuple[str, ...] = option(
        (), "Name or NAME=FILE, once a label; or a table, such as a CSV or TSV file.", suggest=corpus_names
    )
    text_column: str = option("text", "Column of a table that holds the text, by name or number.")
    label_column: str = option("label", "Column of a table that holds the label.")
    header: bool = retuned(TableSettings, "header", True)
    distinct: bool = option(True, "Take each line once, or as often as it is printed.", expert=True)
    samples_per_class: int = option(0, "Take the first so many texts of each label; 0: all.", least=0, expert=True)
    folds: int = option(5, "Parts of a cross-validation; 0: none.", least=0, most=100)
    group: str = option(
        "line", "What stays on one side, and is judged whole too: line, stanza, or so many lines.", expert=True
    )
    hold_out: float = hold_out_option(
        0.0, "Without folds: share held out, evenly spread; 0: none.", whole="hold_out_count"
    )
    hold_out_every: int = option(0, "Without folds: every N-th text.", least=0, instead_of=ONE_OF, expert=True)
    hold_out_count: int = option(0, "Without folds: N texts, by --seed.", least=0, instead_of=ONE_OF, expert=True)
    class_weights: bool = option(False, "Weigh labels by how rare they are.", expert=True)
    bag: bool = option(True, "The sum of what was read goes to the output beside the last states.", expert=True)
    ensemble: int = option(3, "Nets whose votes are averaged.", least=1, most=100)
    hidden: str = retuned(RecurrentSettings, "hidden", "64")
    epochs: int = retuned(RecurrentSettings, "epochs", 12)
    batch_size: int = retuned(RecurrentSettings, "batch_size", 64)
    lr: float = retuned(RecurrentSettings, "lr", 4e-3)
    weight_decay: float = retuned(RecurrentSettings, "weight_decay", 0.01)

    @property
    def splits(self) -> int:
        """Nets that learn apart: one on all texts, and one a fold on the others."""
        return self.folds + 1


TAGS = {"cell": "gru:reset-after", "ensemble": 6, "word_dropout": 0.0, "lr": 8e-3, "weight_decay": 0.1, "epochs": 15}
"""For tags alone, where there is less to forget."""

BOOK = {
    **BOOK_TRAINING,
    "features": ("tags",),
    "ensemble": 1,
    "bag": False,
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
"""The book's poets, and the embedded voices that stand in for them."""


def settle(config: ClassifyConfig) -> Any:
    """As `settled`; raises UsageError for a setting of tables where none is read."""
    refuse_unused(config, bool(config.separator) or any(map(separator_of, config.corpus)))
    return settled(config)


class Divided(NamedTuple):
    """Labelled texts, and who may see them: held (N, S) says which of the S nets must not see which text."""

    data: "LabelledTexts"
    classes: list[str]
    groups: list[int]  # the group of each text
    held: "Tensor"

    @property
    def answers(self) -> "Tensor":
        """The labels by number, (N,)."""
        import torch

        numbers = {label: number for number, label in enumerate(self.classes)}
        return torch.tensor([numbers[label] for label in self.data.labels])

    def seen(self, split: int) -> "Tensor":
        """The texts that a net may see, by number."""
        return (~self.held[:, split]).nonzero().flatten()


def read_texts(config: ClassifyConfig, *, to_learn: bool) -> "LabelledTexts":
    """The texts that the settings ask for; raises as `read_labelled`."""
    from rnncli.data.labelled import read_labelled

    data = read_labelled(config.corpus, config.text_column, config.label_column, config.layout, to_learn=to_learn)
    data = data.distinct() if config.distinct else data
    return data.first_of_each(config.samples_per_class) if config.samples_per_class else data


def divide(config: ClassifyConfig, *, to_learn: bool = True) -> Divided:
    """Read the texts and decide what each net may see; what belongs together, or is the same, is on one side.

    Raises UsageError for a division that leaves a label without texts.
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
                    f"the label {label!r} has too few groups of texts ({count}) for {config.folds} folds: "
                    "take fewer, smaller groups, or --folds 0"
                )
        folds = stratified_folds(data.labels, together, config.folds, config.seed)
        held[torch.arange(len(folds)), torch.tensor(folds) + 1] = True
    elif config.held_out:
        rows = _held_out_rows(config, clusters(data.keys, groups))
        if len(rows) == len(data.texts) or config.hold_out_count >= len(data.texts):
            raise UsageError(f"{config.held_out} leaves nothing to learn of {len(data.texts):,} texts")
        held[rows, 0] = True
    divided = Divided(data, data.classes, groups, held)
    for split in range(held.shape[1]):
        if len(divided.answers[divided.seen(split)].unique()) < len(divided.classes):
            raise UsageError("a label would be held out whole: hold out less, or take fewer folds or smaller groups")
    return divided


def _held_out_rows(config: ClassifyConfig, together: Sequence[int]) -> list[int]:
    """The texts to hold out, with all that belongs together: evenly spread, or at most `hold_out_count` drawn ones."""
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
    """What the texts of a group have in common."""
    if group == "line":
        return list(range(len(data.texts)))
    if group == "stanza":
        return data.stanzas
    if group.isdecimal() and 0 < int(group) <= 1_000_000:
        return [(corpus, line // int(group)) for corpus, line in data.places]
    raise UsageError(f"--group must be line, stanza, or a number of lines, not {group!r}")


def encode(config: ClassifyConfig, payload: Mapping[str, Any], texts: Sequence[str]) -> "Features":
    """Texts as the net reads them; raises RnnError for one without words or too long, and as `tags_of`."""
    from rnncli.data.tagging import tags_of

    lines = words_of_all(texts)
    tags = tags_of(lines) if "tags" in config.features else None
    return lexicon_from(payload).encode(lines, tags)


def build(config: ClassifyConfig, device: str) -> "Experiment":
    """Read and divide the texts, and make a fresh net for each split of them."""
    from rnncli.data.batching import IGNORED
    from rnncli.data.features import Labelled
    from rnncli.data.tagging import tags_of
    from rnncli.training.experiment import BestPart, Experiment
    from rnncli.training.losses import committee_loss

    divided = divide(config)
    lines = words_of_all(divided.data.texts)
    tags = tags_of(lines) if "tags" in config.features else []
    payload = {
        "corpus": divided.data.name,
        "fingerprint": divided.data.fingerprint,
        "classes": divided.classes,
        "lexicon": lexicon_of(config, lines, tags),
    }
    features = lexicon_from(payload).encode(lines, tags or None)
    model: Any = build_model(config, payload).to(device)
    for place, member in enumerate(model.members):
        member.reader.learn(features.counts(divided.seen(place // config.ensemble)), config.min_count)
    weights = (
        class_weights(divided).repeat_interleave(config.ensemble, dim=0).to(device) if config.class_weights else None
    )
    held = divided.held.repeat_interleave(config.ensemble, dim=1)
    asked = divided.answers[:, None].expand_as(held).masked_fill(held, IGNORED)
    learned = (~held).any(1).nonzero().flatten()  # by some net: without folds, not what is held out
    training = Labelled(features.only(learned), asked[learned], by_word=False, device=device)
    return Experiment(
        model=model,
        batches=lambda epoch, begin=0: training.shuffled(config.step_size, config.seed, epoch, begin),
        batches_per_epoch=-(-len(learned) // config.step_size),
        about=_about(config, divided),
        loss=partial(committee_loss, smoothing=config.label_smoothing, weights=weights),
        validate=lambda model: measure(_scores(model, features, config), divided),
        uses_all=True,
        independent_parts=lambda committee: committee.members,
        monitor="accuracy",
        newest_is_best=True,
        payload=payload,
        best_part=BestPart(lambda name: int(name.split(".")[1]) < config.ensemble, {"splits": 1}),
    )


def class_weights(divided: Divided) -> "Tensor":
    """For each split, the weight (S, K) of each label: how rare it is among the texts that the split may see."""
    import torch

    counts = torch.stack([divided.answers[divided.seen(split)].bincount() for split in range(divided.held.shape[1])])
    return counts.sum(1, keepdim=True) / (counts.shape[1] * counts)


def _about(config: ClassifyConfig, divided: Divided) -> str:
    counts = {label: divided.data.labels.count(label) for label in divided.classes}
    shares = ", ".join(f"{count:,} {label}" for label, count in counts.items())
    held = int(divided.held[:, 0].sum())
    how = (
        f"{config.folds} folds"
        if config.folds
        else f"{held} held out"
        if held
        else "none held out, measured as learned"
    )
    what = "distinct texts" if config.distinct else "texts"
    from rnncli.data.corpora import first_here

    by_default = config.corpus == POETS[-1] == first_here(POETS)
    other = f"; the book's poets instead: rnn data get {' '.join(POETS[0])}" if by_default else ""
    rows = f"{divided.data.rows:,} rows, " if divided.data.rows else ""
    return f"{divided.data.name}: {rows}{len(divided.data.texts):,} {what} ({shares}), {how}{other}"


def build_model(config: ClassifyConfig, payload: Mapping[str, Any]) -> "nn.Module":
    """Untrained nets: as many as vote, on all texts and then, where the file has them, on the others of each fold."""
    from rnncli.models.classifier import Classifier, Committee

    lexicon = lexicon_from(payload)
    return Committee(
        [
            Classifier(
                config.reader(lexicon),
                len(payload["classes"]),
                config.shape,
                bag=config.bag,
                dropout=config.output_dropout,
                backend=config.backend,
            )
            for _ in range(payload.get("splits", config.splits) * config.ensemble)
        ]
    )


def _scores(model: Any, features: "Features", config: ClassifyConfig) -> "Tensor":
    """Log-probabilities (N, S, K) of N texts by each of the S splits' nets; an ensemble's vote as one."""
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
    """Loss, accuracy and balanced accuracy of every held-out text by the net that did not see it.

    scores (N, S, K). With folds, their spread; with groups, the same figures of whole groups, whose texts' scores are
    summed. Where nothing was held out, all texts are measured by the net that learned them.
    """
    import torch

    from rnncli.training.metrics import label_metrics

    rows, splits = held_out(divided)
    judged, answers = scores[rows, splits], divided.answers[rows]
    loss = -judged.gather(1, answers[:, None]).mean()
    metrics = {"loss": float(loss), **label_metrics(judged, answers)}
    if len(set(splits.tolist())) > 1:
        each = [label_metrics(judged[splits == fold], answers[splits == fold]) for fold in splits.unique()]
        spread = torch.tensor([[fold["accuracy"], fold["balanced_accuracy"]] for fold in each]).std(0).tolist()
        metrics |= dict(zip(("accuracy_spread", "balanced_spread"), spread, strict=True))
    groups = torch.tensor(divided.groups)[rows]
    if len(groups.unique()) < len(groups):
        whole, its_answers = group_scores(judged, answers, groups)
        metrics |= {f"group_{name}": value for name, value in label_metrics(whole, its_answers).items()}
    return metrics


def held_out(divided: Divided) -> tuple["Tensor", "Tensor"]:
    """The texts to measure on and the split that did not see each: all by the first, where none was held out."""
    import torch

    rows, splits = divided.held.nonzero(as_tuple=True)
    if len(rows):
        return rows, splits
    return torch.arange(len(divided.held)), torch.zeros(len(divided.held), dtype=torch.long)


def group_scores(scores: "Tensor", answers: "Tensor", groups: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Sums of scores (N, K) over the texts of each group, and the groups' answers."""
    _, places = groups.unique(return_inverse=True)
    count = int(places.max()) + 1
    return scores.new_zeros(count, scores.shape[1]).index_add(0, places, scores), answers.new_zeros(count).scatter(
        0, places, answers
    )


def training_texts(trained: Trained, instead: str = "give --corpus") -> Divided:
    """What the nets were trained on, read and divided again; raises UsageError where that changed or cannot be."""
    with trained.reading_again(instead):
        found = divide(trained.config)
    trained.check_unchanged(found.data.name, found.data.fingerprint, instead)
    return found


def evaluation(trained: Trained, options: LabelledOptions) -> Divided:
    """The texts to measure on; raises UsageError where those of the training changed, or have other labels."""
    config: ClassifyConfig = trained.config
    if options.corpus:
        nothing: dict[str, Any] = {"folds": 0, "samples_per_class": 0, **HoldOut().settings}
        other = replace(config, corpus=options.corpus, **nothing)
        found = divide(other, to_learn=False)
        strange = set(found.classes) - set(trained.payload["classes"])
        if strange:
            known = ", ".join(trained.payload["classes"])
            raise UsageError(f"{trained.source} knows the labels {known}, not {min(strange)}: NAME=FILE gives a label")
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
    """The measures of cross-validation, or those on other texts, with their confusion matrix."""
    from rnncli.training.metrics import Confusion

    divided = evaluation(trained, options)
    model = trained.model if options.corpus else with_folds(trained)
    scores = _scores(model, encode(trained.config, trained.payload, divided.data.texts), trained.config)
    rows, splits = held_out(divided)
    confusion = Confusion.of(divided.classes, divided.answers[rows], scores[rows, splits].argmax(-1))
    return {**measure(scores, divided), "texts": len(rows), "confusion": confusion.plain}


def baselines(trained: Trained, options: LabelledOptions) -> Rows:
    """Simple classifiers on the same folds, each learning from the very texts that the net of the fold learned from."""
    from rnncli.labelling.classical import rivals

    if options.corpus:
        raise UsageError("--baselines are measured on the folds of the training: leave --corpus out")
    divided = evaluation(trained, options)
    found = rivals(divided.data.texts, trained.config.class_weights)
    return {rival.name: _rival_metrics(rival, divided) for rival in found}


def _rival_metrics(rival: "Rival", divided: Divided) -> "Metrics":
    """The measures of a simple classifier that learns each split by itself; none of one that cannot be had here."""
    import torch

    if rival.scorer is None:
        return {}
    answers, (rows, splits) = divided.answers, held_out(divided)
    scores = torch.zeros(*divided.held.shape, len(divided.classes), dtype=torch.double)
    for split in splits.unique().tolist():
        seen, asked = divided.seen(split).tolist(), rows[splits == split].tolist()
        training, others = ([rival.texts[row] for row in part] for part in (seen, asked))
        scores[asked, split] = torch.from_numpy(rival.scorer(training, answers[seen].tolist(), others)).double()
    metrics = measure(scores, divided)
    return {name: value for name, value in metrics.items() if name != "loss" or rival.has_probabilities}


def evaluated(trained: Trained, options: LabelledOptions) -> str:
    """What `evaluate` measures on, in words."""
    if options.corpus:
        return " + ".join(options.corpus)
    config: ClassifyConfig = trained.config
    if config.folds:
        return f"{trained.payload['corpus']}, {config.folds} folds, each by the net that did not see it"
    return f"{trained.payload['corpus']}, {'what was held out' if config.held_out else 'as learned'}"


LONGEST_ERASED = 300
"""Words; erasure reads a text as often as it has words."""


def classify(trained: Trained, options: GivenTexts) -> list[Classified]:
    """Label texts by the net that learned from all; what moved it is told by erasure.

    Erasure (Li et al. 2016, arXiv:1612.08220): each word is left out in its turn, and the label's log-odds read again;
    in texts of more than LONGEST_ERASED words none is, and all count 0. Raises as `GivenTexts.lines`.
    """
    return [_classified(trained, text) if text else Classified(text, None, {}, []) for text in options.spaced]


def _classified(trained: Trained, text: str) -> Classified:
    import torch

    from rnncli.data.tagging import tags_of
    from rnncli.models.classifier import Committee

    config: ClassifyConfig = trained.config
    model: Any = trained.model
    final = Committee(model.members[: config.ensemble])  # the nets that learned from all
    (words,) = words_of_all([text])
    tags = tags_of([words])[0] if "tags" in config.features else [""] * len(words)
    without = range(len(words)) if 1 < len(words) <= LONGEST_ERASED else ()
    kept = [range(len(words)), *([at for at in range(len(words)) if at != gone] for gone in without)]
    features = lexicon_from(trained.payload).encode(
        [[words[at] for at in places] for places in kept], [[tags[at] for at in places] for places in kept]
    )
    shares = _scores(final, features, config)[:, 0].double().exp()
    label = int(shares[0].argmax())
    odds = torch.logit(shares[:, label], eps=1e-9)
    moved = (odds[0] - odds[1:]).tolist() or [0.0] * len(words)
    classes = trained.payload["classes"]
    return Classified(
        text,
        classes[label],
        dict(zip(classes, shares[0].tolist(), strict=True)),
        [Moved(word, by) for word, by in zip(as_written(text, words), moved, strict=True)],
    )


def passage(trained: Trained) -> Iterator[str]:
    """The texts of the training, some of each label, in the order of the corpora; raises as `training_texts`."""
    data = training_texts(trained, "give --text").data
    yield from data.texts[:: max(1, len(data.texts) // 100)]


def watch(trained: Trained, options: ActivationOptions) -> Recording:
    """The states of the first net, which learned from all texts, after every word; raises as `watch_words`."""
    model: Any = trained.model
    return watch_words(trained, options, model.members[0], passage)


def confusion_of(trained: Trained) -> Iterator[Panel]:
    """How often which label was given to what, on what `evaluate` measures on by default."""
    yield confusion(evaluate(trained, LabelledOptions()))


TASK = Task(
    name="poetry-classify",
    summary=OUTLINES["poetry-classify"].summary,
    Config=ClassifyConfig,
    settle=settle,
    corpora=POETS,
    build=build,
    build_model=build_model,
    keeps={"fingerprint": None, "classes": None, "lexicon": None},
    evaluate=Action(LabelledOptions, evaluate, "rnn evaluate poetry-classify --baselines", corpus=evaluated),
    baselines=baselines,
    panels={"Confusion": confusion_of},
    uses={
        "classify": Action(GivenTexts, classify, 'rnn classify "the gate stood open and the field was white"'),
        "activations": Action(ActivationOptions, watch, EXAMPLE),
    },
    presets={"book": BOOK, "tags": TAGS},
    implied_preset=lambda flags: "tags" if flags.get("features") == ("tags",) else None,
    example="rnn train poetry-classify --corpus reviews.tsv",
)
