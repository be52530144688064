"""translate: one sentence in, another out, by an encoder, a decoder and attention between them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rnncli.data.table_settings import TableSettings, refuse_unused
from rnncli.data.text import visible
from rnncli.data.texts import GivenTexts
from rnncli.data.tokenizers import KINDS
from rnncli.data.vocabulary import END, SPECIALS, START, UNKNOWN, Vocabulary
from rnncli.errors import UsageError
from rnncli.language.settings import LanguageSettings
from rnncli.panels import Panel, attention, samples
from rnncli.results import Translation
from rnncli.settings import option, retuned
from rnncli.task import Action, Task, Trained
from rnncli.tasks import OUTLINES
from rnncli.training.bleu import TOKENIZERS as BLEU_TOKENIZERS
from rnncli.training.bleu import score_translations
from rnncli.training.settings import RecurrentSettings

if TYPE_CHECKING:
    from torch import nn

    from rnncli.data.codec import Codec
    from rnncli.data.pairs import Lines, Paired, PairSpec, SentencePairs
    from rnncli.training.experiment import Experiment, Metrics

ATTENTIONS = ("none", "additive", "dot", "general")

SENTENCES = {
    "tokens": "bpe",
    "vocab_size": 8_000,
    "lowercase": True,
    "embedding": 256,
    "hidden": "320",
    "embedding_dropout": 0.3,
    "output_dropout": 0.3,
    "label_smoothing": 0.1,
    "epochs": 8,
    "batch_size": 96,
    "lr": 1e-2,
    "average": 0.995,
}
"""For some ten thousand pairs of sentences, and twenty minutes of two cores."""


ROWS, POSITIONS = 256, 8_192
"""Hypotheses that are held at once, of as many sentences as that makes, and source tokens that all of them look at."""


@dataclass(frozen=True, kw_only=True)
class TranslateConfig(TableSettings, LanguageSettings):
    """Settings of translate; the defaults are for dates."""

    panel: ClassVar[str] = "Pairs"
    fast_precision: ClassVar[Mapping[str, str]] = {"cuda": "tf32"}
    truncates: ClassVar[bool] = False

    corpus: tuple[str, ...] = option(
        (), "dates, multi30k, or a table: a sentence, a tab, its translation.", suggest=("dates", "multi30k")
    )
    pair: str = option("de-en", "Languages of multi30k, from-to: en, de, fr.")
    source: str | None = option(None, "A file with a sentence a line, instead of --corpus.")
    target: str | None = option(None, "The translations of --source, line by line.")
    valid_source: str | None = option(None, "Sentences to validate on.", expert=True)
    valid_target: str | None = option(None, "The translations of --valid-source.", expert=True)
    columns: str = option(
        "1,2", "Columns of a table with a sentence and its translation, by number or name.", expert=True
    )
    hold_out: float = option(0.1, "Share held out to validate, and again to test, of one file.", above=0, most=0.3)
    tokens: str = option("char", "What is read one by one.", choices=KINDS, shape=True)
    vocab_size: int = option(0, "The most frequent tokens that are kept; 0: all (bpe: 4,000).", least=0)
    lowercase: bool = option(False, "Read and write lower case alone.", shape=True, expert=True)
    attention: str = option("general", "How the decoder looks at the source.", choices=ATTENTIONS, shape=True)
    bidirectional: bool = option(True, "Read the source in both directions.", shape=True, expert=True)
    tied: bool = retuned(LanguageSettings, "tied", True)
    cell: str = retuned(RecurrentSettings, "cell", "lstm:none")
    hidden: str = retuned(RecurrentSettings, "hidden", "128")
    epochs: int = retuned(RecurrentSettings, "epochs", 3)
    batch_size: int = retuned(RecurrentSettings, "batch_size", 64)
    optimizer: str = retuned(RecurrentSettings, "optimizer", "muon")
    lr: float = retuned(RecurrentSettings, "lr", 1e-2)
    momentum: float = retuned(RecurrentSettings, "momentum", 0.95)
    beta2: float = retuned(RecurrentSettings, "beta2", 0.99)
    schedule: str = retuned(RecurrentSettings, "schedule", "cosine")
    warmup: float = retuned(RecurrentSettings, "warmup", 0.05)

    @property
    def needs_corpus(self) -> bool:
        return not (self.corpus or self.source or self.target)

    @property
    def given(self) -> "PairSpec":
        """What to learn from."""
        from rnncli.data.pairs import PairSpec

        files = self.source, self.target, self.valid_source, self.valid_target
        return PairSpec(self.corpus, self.pair, *files, self.columns, self.layout)


def settle(config: TranslateConfig) -> TranslateConfig:
    """Settings with absolute paths; raises UsageError for a pair of another corpus than Multi30k."""
    from rnncli.data.corpora import CORPORA, absolute_spec

    names = ("source", "target", "valid_source", "valid_target")
    files: dict[str, Any] = {name: absolute_spec(value) for name in names if (value := getattr(config, name))}
    corpus = tuple(map(absolute_spec, config.corpus))
    if config.pair != TranslateConfig.pair and "multi30k" not in corpus:
        raise UsageError(f"--pair {config.pair} names languages of multi30k: give --corpus multi30k, or leave it out")
    refuse_unused(config, not config.source and any(spec not in CORPORA for spec in corpus))
    return replace(config, corpus=corpus, **files)


def implied_preset(flags: Mapping[str, Any]) -> str | None:
    """Sentences have a recipe of their own; dates, and whatever else, the default."""
    from rnncli.data.corpora import available

    named = flags.get("corpus")
    if flags.get("source") or (named and "multi30k" in named):
        return "sentences"
    return None if named or not available("multi30k") else "sentences"


def build(config: TranslateConfig, device: str) -> "Experiment":
    """Read the pairs, number their tokens, and make a fresh model."""
    import torch

    from rnncli.data.pairs import read_paired
    from rnncli.training.experiment import Experiment
    from rnncli.training.metrics import prediction_metrics

    data = read_paired(config.given, config.hold_out)
    codec = _codec(config, data)
    payload = {"corpus": data.name, "fingerprint": data.fingerprint, **codec.payload}
    training = encode(config, codec, data.training, device)
    validation = encode(config, codec, data.validation, device)
    model: Any = build_model(config, payload).to(device)
    counts = torch.zeros(len(payload["vocabulary"]), device=device)
    counts[: len(training.counts)] += training.counts
    model.init_bias(counts)
    return Experiment(
        model=model,
        batches=lambda epoch, begin=0: training.shuffled(config.step_size, config.seed, epoch, begin),
        batches_per_epoch=-(-len(data.training) // config.step_size),
        about=_about(data, len(payload["vocabulary"])),
        loss=config.loss,
        uses_all=True,
        validate=lambda model: prediction_metrics(model, validation.in_order(256)),
        payload=payload,
    )


def _about(data: "Paired", known: int) -> str:
    tested = f"{len(data.test):,} to test on" if data.test else "none to test on"
    return (
        f"{data.name}: {len(data.training):,} pairs to learn, {len(data.validation):,} held out, {tested}, "
        f"{known:,} tokens{f'; {data.note}' if data.note else ''}"
    )


def _codec(config: TranslateConfig, data: "Paired") -> "Codec":
    """Number the tokens of both languages by one vocabulary."""
    from rnncli.data.bpe import DEFAULT_SIZE, bpe_tokens, learn_bpe
    from rnncli.data.codec import Codec

    texts = [prepared(config, text) for pair in data.training for text in pair]
    if config.tokens == "bpe":
        learned = learn_bpe(texts, config.vocab_size or DEFAULT_SIZE)
        return Codec("bpe", Vocabulary.of([bpe_tokens(learned)]), learned)
    codec = Codec(config.tokens, Vocabulary(SPECIALS))
    seen = Counter(token for text in texts for token in codec.split(text))
    return replace(codec, vocabulary=Vocabulary.counted(seen, 1, config.vocab_size))


def prepared(config: TranslateConfig, text: str) -> str:
    """A sentence as it is taken apart: but for letters a blank is before it, so that its first word is as any other."""
    blank = " " if config.tokens in ("bpe", "word") else ""
    return blank + (text.lower() if config.lowercase else text)


def encode(config: TranslateConfig, codec: "Codec", pairs: "Lines", device: str) -> "SentencePairs":
    """Pairs by number."""
    import torch

    from rnncli.data.pairs import SentencePairs

    split, number = codec.split, codec.vocabulary.encode
    numbers = [tuple(number(split(prepared(config, text))) for text in pair) for pair in pairs]
    return SentencePairs.of([(source, target) for source, target in numbers], torch.device(device))


def build_model(config: TranslateConfig, payload: Mapping[str, Any]) -> "nn.Module":
    """An untrained translator over the payload's vocabulary."""
    from rnncli.models.translator import Translator

    return Translator(
        len(payload["vocabulary"]),
        config.embedding,
        config.shape,
        attention=config.attention,
        bidirectional=config.bidirectional,
        dropouts=config.dropouts,
        tied=config.tied,
        backend=config.backend,
    )


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a translation is sought."""

    beam: int = option(5, "Hypotheses that are kept at each step; 1: greedy.", least=1, most=1_000)
    length_power: float = option(1.0, "Log-probabilities are divided by length to this power.", least=0, most=10)


@dataclass(frozen=True, kw_only=True)
class TranslateOptions(GivenTexts, SearchOptions):
    """What to translate, and how."""

    nbest: int = option(1, "Translations of each sentence.", least=1)
    out: str | None = option(
        None, "Draw what each token of one sentence looked at to this file (PNG, SVG, PDF).", formerly=("attention",)
    )


def translate(trained: Trained, options: TranslateOptions) -> list[list[Translation]]:
    """The best translations of each text, best first, none of a blank line.

    Raises UsageError for what makes no sense.
    """
    if options.nbest > options.beam:
        raise UsageError(f"--nbest {options.nbest} needs as many hypotheses: --beam {options.nbest}, or more")
    told = [text for text in options.spaced if text]
    if options.out and len(told) != 1:
        raise UsageError("--out draws the attention of one sentence: give one text")
    if options.out and trained.config.attention == "none":
        raise UsageError(f"{trained.source} has no attention to draw: it was trained with --attention none")
    found = iter(best_translations(trained, told, options, options.nbest))
    return [next(found) if text else [] for text in options.spaced]


def best_translations(
    trained: Trained, texts: Sequence[str], options: SearchOptions, nbest: int = 1
) -> list[list[Translation]]:
    """The n best translations of each sentence, those of like length sought side by side."""
    sources = [trained.codec.split(prepared(trained.config, text)) for text in texts]
    left = sorted(range(len(texts)), key=lambda place: -len(sources[place]))
    found = dict[int, list[Translation]]()
    while left:
        rows = min(ROWS, POSITIONS // (len(sources[left[0]]) + 1))
        many = max(1, rows // options.beam)
        some, left = left[:many], left[many:]
        translations = _translated(trained, [sources[place] for place in some], options, nbest)
        found.update(zip(some, translations, strict=True))
    return [found[place] for place in range(len(texts))]


def _translated(
    trained: Trained, sources: list[list[str]], options: SearchOptions, nbest: int
) -> list[list[Translation]]:
    """The n best translations of each of some sentences in tokens, all sought side by side."""
    import torch

    from rnncli.data.pairs import side_by_side
    from rnncli.models.decoding import beam_search

    model: Any = trained.model
    units, vocabulary = trained.codec.units, trained.codec.vocabulary
    numbers = [vocabulary.encode(source) for source in sources]
    with torch.inference_mode():
        asked = side_by_side([(source, ()) for source in numbers], trained.device)
        encoded, states = model.encode(asked.source, asked.lengths)
        best = beam_search(
            model.step,
            [encoded, *states],
            start=START,
            end=END,
            width=options.beam,
            max_length=(2 * asked.lengths + 20).tolist(),
            length_power=options.length_power,
            banned=(START,) if trained.config.attention != "none" else (START, UNKNOWN),
        )
        found = [(place, each) for place, some in enumerate(best) for each in some[:nbest]]
        weights = model.weights(side_by_side([(numbers[place], each.tokens) for place, each in found], trained.device))
    translations: list[list[Translation]] = [[] for _ in sources]
    for row, (place, each) in enumerate(found):
        source, tokens = sources[place], vocabulary.decode(each.tokens)
        looked = [] if weights is None else weights[row, : len(tokens) + 1, : len(source) + 1]
        for at in [at for at, number in enumerate(each.tokens) if number == UNKNOWN]:
            tokens[at] = source[int(looked[at][:-1].argmax())]  # copied from where the decoder looked most
        shown, read = ([*map(units.shown, part), SPECIALS[END]] for part in (tokens, source))
        text = "".join(units.join(tokens)).strip()
        attention = [row.tolist() for row in looked]
        translations[place].append(Translation(text, each.log_probability, each.score, shown, read, attention))
    return translations


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(SearchOptions):
    """What to measure on, and how translations are sought."""

    split: str = option(
        "test",
        "The part to measure on, where there are some; of multi30k test is test_2016_flickr.",
        choices=("test", "validation", "test-2017", "test-2018"),
    )
    corpus: tuple[str, ...] = option((), "Measure on multi30k, or this file: a sentence, a tab, its translation.")
    source: str | None = option(None, "Measure on a file with a sentence a line.")
    target: str | None = option(None, "The translations of --source, line by line.")
    bleu_tokenize: str = option(
        "auto", "sacrebleu's tokenizer; auto: by the script of the translations", choices=BLEU_TOKENIZERS
    )


def asked(trained: Trained, options: EvaluateOptions) -> "Lines":
    """The pairs to measure on; raises UsageError where there are none, or where what was learned from has changed."""
    from rnncli.data.pairs import PairSpec, read_paired, read_pairs

    config: TranslateConfig = trained.config
    files = options.source, options.target, None, None
    given = PairSpec(options.corpus, config.pair, *files, config.columns, config.layout)
    is_given = bool(given.corpus or given.source or given.target)
    known = (given if is_given else config.given).divided
    if known and options.split in known.more_tests:
        return known.test_pairs(options.split, config.pair)
    if options.split not in ("test", "validation"):
        raise UsageError(f"--split {options.split}: only multi30k has it; give --corpus multi30k, or leave --split out")
    if given.divided:
        data = read_paired(given, config.hold_out)
    elif is_given:
        return read_pairs(given).training
    else:
        with trained.reading_again():
            data = read_paired(trained.config.given, trained.config.hold_out)
        trained.check_unchanged(data.name, data.fingerprint)
    if options.split == "test" and not data.test:
        raise UsageError(f"{trained.source} has no pairs to test on: give --source and --target, or --split validation")
    return data.test if options.split == "test" else data.validation


def evaluate(trained: Trained, options: EvaluateOptions) -> dict[str, Any]:
    """Loss, accuracy and perplexity of the right translations; BLEU, chrF and exact matches of those found."""
    from rnncli.training.metrics import prediction_metrics

    pairs = asked(trained, options)
    data = encode(trained.config, trained.codec, pairs, trained.device)
    metrics: Metrics = prediction_metrics(trained.model, data.in_order(256))
    found = [best.text for (best,) in best_translations(trained, [source for source, _ in pairs], options)]
    right = [prepared(trained.config, target).strip() for _, target in pairs]
    judged = score_translations(found, right, options.bleu_tokenize)
    exact = sum(one == other for one, other in zip(found, right, strict=True)) / len(pairs)
    counted = {"exact_match": exact, "sentences": len(pairs), "signatures": judged.signatures}
    return {**metrics, **judged.scores, **counted}


def evaluated(trained: Trained, options: EvaluateOptions) -> str:
    """What `evaluate` measures on, in words."""
    if options.source:
        return Path(options.source).name
    from rnncli.data.pairs import PairSpec

    corpus = " + ".join(options.corpus)
    if corpus and not PairSpec(options.corpus).divided:
        return corpus
    return f"{corpus or trained.payload['corpus']}, {options.split}"


def shown(trained: Trained) -> Iterator[Panel]:
    """Some sentences that it did not learn from, and what it looked at in the first."""
    pairs = asked(trained, EvaluateOptions(split="validation"))[:6]
    options = TranslateOptions(texts=tuple(source for source, _ in pairs))
    found = [best[0] for best in translate(trained, options)]
    texts = [
        [source, f"{best.text}\n({target})" if best.text != target else best.text]
        for (source, target), best in zip(pairs, found, strict=True)
    ]
    yield samples("What it translates", "of sentences held out; in brackets the right one, where it is another", texts)
    first = found[0]
    if first.attention:
        across, down = (list(map(visible, tokens)) for tokens in (first.source_tokens, first.tokens))
        yield attention(f"{pairs[0][0]} → {first.text}", across, down, first.attention)


TASK = Task(
    name="translate",
    summary=OUTLINES["translate"].summary,
    Config=TranslateConfig,
    settle=settle,
    corpora=(("multi30k",), ("dates",)),
    build=build,
    build_model=build_model,
    keeps={"fingerprint": None, "tokenizer": KINDS, "vocabulary": None},
    evaluate=Action(EvaluateOptions, evaluate, "rnn evaluate translate --beam 5", corpus=evaluated),
    panels={"Translations": shown},
    presets={"sentences": SENTENCES},
    implied_preset=implied_preset,
    uses={
        "translate": Action(TranslateOptions, translate, 'rnn translate "the third of march, nineteen eighty-seven"')
    },
    example="rnn train translate --corpus pairs.tsv",
)
