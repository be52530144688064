"""translate: sentences to sentences, by an encoder, a decoder and attention."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rnncli.data.table_settings import TableSettings, refuse_unused
from rnncli.data.text import visible
from rnncli.data.texts import GivenTexts
from rnncli.data.tokenizers import KINDS
from rnncli.data.vector_settings import VectorSettings, resolve_vectors, start_from_vectors
from rnncli.data.vocabulary import END, SPECIALS, START, UNKNOWN, Vocabulary
from rnncli.errors import UsageError
from rnncli.language.settings import LanguageSettings
from rnncli.panels import Panel, attention, samples
from rnncli.results import Translation
from rnncli.settings import option, retuned
from rnncli.task import Action, Quick, Task, Trained
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
"""For tens of thousands of sentence pairs; training takes twenty minutes on two cores."""


WORDS = ("word", "spaced")
"""The kinds of tokens that are words, which can have vectors from elsewhere."""

ROWS, POSITIONS = 256, 8_192
"""Maximum number of hypotheses in a batch of the beam search, and of their source tokens."""


@dataclass(frozen=True, kw_only=True)
class TranslateConfig(TableSettings, VectorSettings, LanguageSettings):
    """Settings of translate; the defaults suit dates."""

    panel: ClassVar[str] = "Pairs"
    fast_precision: ClassVar[Mapping[str, str]] = {"cuda": "tf32"}
    truncates: ClassVar[bool] = False

    corpus: tuple[str, ...] = option(
        (), "dates, multi30k, or a table: a sentence, a tab, its translation.", text=True, suggest=("dates", "multi30k")
    )
    pair: str = option("de-en", "Languages of multi30k, from-to: en, de, fr.")
    source: str | None = option(None, "A file with one sentence per line, instead of --corpus.", text=True)
    target: str | None = option(None, "The translations of --source, line by line.", text=True)
    valid_source: str | None = option(None, "Sentences to validate on.", text=True, expert=True)
    valid_target: str | None = option(None, "The translations of --valid-source.", text=True, expert=True)
    columns: str = option(
        "1,2", "Columns of a table with a sentence and its translation, by number or name.", expert=True
    )
    hold_out: float = option(
        0.1, "Share of a single file held out for validation, and the same share for testing.", above=0, most=0.3
    )
    tokens: str = option("char", "Kind of token.", choices=KINDS, shape=True)
    vocab_size: int = option(0, "Keep only the N most frequent tokens; 0: all (bpe: 4,000).", least=0)
    lowercase: bool = option(False, "Convert all text to lower case.", shape=True, expert=True)
    attention: str = option("general", "Kind of attention to the source.", choices=ATTENTIONS, shape=True)
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
    def pair_spec(self) -> "PairSpec":
        """The training pairs."""
        from rnncli.data.pairs import PairSpec

        files = self.source, self.target, self.valid_source, self.valid_target
        return PairSpec(self.corpus, self.pair, *files, self.columns, self.layout)


def resolve_defaults(config: TranslateConfig) -> TranslateConfig:
    """Settings with absolute paths; raises UsageError for --pair without Multi30k, and for vectors without words.

    Also raises as `refuse_unused` and `resolve_vectors`.
    """
    from rnncli.data.corpora import CORPORA

    names = ("source", "target", "valid_source", "valid_target")
    files: dict[str, Any] = {name: config.absolute(value) for name in names if (value := getattr(config, name))}
    corpus = tuple(map(config.absolute, config.corpus))
    if config.pair != TranslateConfig.pair and "multi30k" not in corpus:
        raise UsageError(f"--pair {config.pair} names languages of multi30k: give --corpus multi30k, or leave it out")
    refuse_unused(config, not config.source and any(spec not in CORPORA for spec in corpus))
    if config.embeddings and config.tokens not in WORDS:
        raise UsageError(f"--embeddings sets the vectors of words, not of --tokens {config.tokens}: add --tokens word")
    return resolve_vectors(replace(config, corpus=corpus, **files), "embedding")


def implied_preset(flags: Mapping[str, Any]) -> str | None:
    """The preset `sentences` for multi30k and for --source; the defaults for dates and tables."""
    from rnncli.data.corpora import available

    named = flags.get("corpus")
    if flags.get("source") or (named and "multi30k" in named):
        return "sentences"
    return None if named or not available("multi30k") else "sentences"


def build(config: TranslateConfig, device: str) -> "Experiment":
    """Read the pairs, number their tokens, and make a new model."""
    import torch

    from rnncli.data.pairs import read_paired
    from rnncli.training.experiment import Experiment
    from rnncli.training.machine import batch_multiple
    from rnncli.training.metrics import prediction_metrics

    data = read_paired(config.pair_spec, config.hold_out)
    codec = _codec(config, data)
    payload = {"corpus": data.name, "fingerprint": data.fingerprint, **codec.payload}
    training = encode(config, codec, data.training, device, batch_multiple(config, device))
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
        no_graphs="",
        begin=lambda: start_from_vectors(config, _words(codec), [model.embedding]),
        validate=lambda model: prediction_metrics(model, validation.in_order(256)),
        payload=payload,
    )


def _words(codec: "Codec") -> Iterator[tuple[str, int]]:
    """The tokens without the blank that stands before a word, and their numbers."""
    return ((token.strip(" "), number) for token, number in codec.vocabulary.numbers.items())


def _about(data: "Paired", known: int) -> str:
    tested = f"{len(data.test):,} to test on" if data.test else "none to test on"
    return (
        f"{data.name}: {len(data.training):,} pairs to learn, {len(data.validation):,} held out, {tested}, "
        f"{known:,} tokens{f'; {data.note}' if data.note else ''}"
    )


def _codec(config: TranslateConfig, data: "Paired") -> "Codec":
    """A codec with one vocabulary for both languages."""
    from rnncli.data.bpe import DEFAULT_SIZE, bpe_tokens, learn_bpe
    from rnncli.data.codec import Codec

    texts = [prepared(config, text) for pair in data.training for text in pair]
    if config.tokens == "bpe":
        bpe = learn_bpe(texts, config.vocab_size or DEFAULT_SIZE)
        return Codec("bpe", Vocabulary.of([bpe_tokens(bpe)]), bpe)
    codec = Codec(config.tokens, Vocabulary(SPECIALS))
    seen = Counter(token for text in texts for token in codec.split(text))
    return replace(codec, vocabulary=Vocabulary.counted(seen, 1, config.vocab_size))


def prepared(config: TranslateConfig, text: str) -> str:
    """A sentence before it is split; for words and BPE it gets a blank, so that its first word is like any other."""
    blank = " " if config.tokens in ("bpe", "word") else ""
    return blank + (text.lower() if config.lowercase else text)


def encode(config: TranslateConfig, codec: "Codec", pairs: "Lines", device: str, multiple: int = 1) -> "SentencePairs":
    """Pairs as token ids; the steps of a batch are a multiple of `multiple`."""
    import torch

    from rnncli.data.pairs import SentencePairs

    split, number = codec.split, codec.vocabulary.encode
    numbers = [tuple(number(split(prepared(config, text))) for text in pair) for pair in pairs]
    return SentencePairs.of([(source, target) for source, target in numbers], torch.device(device), multiple)


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
        frozen=config.freeze_embeddings,
        backend=config.backend,
    )


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options of the beam search."""

    beam: int = option(5, "Width of the beam search; 1: greedy.", least=1, most=1_000)
    length_power: float = option(1.0, "Divide log-probabilities by the length to this power.", least=0, most=10)


@dataclass(frozen=True, kw_only=True)
class TranslateOptions(GivenTexts, SearchOptions):
    """The texts to translate, and how."""

    nbest: int = option(1, "Number of translations of each sentence.", least=1)
    out: str | None = option(
        None, "Draw the attention of one sentence to this file (PNG, SVG, PDF).", formerly=("attention",)
    )


def translate(trained: Trained, options: TranslateOptions) -> list[list[Translation]]:
    """The translations of each text, best first; a blank line has none.

    Raises UsageError for options that exclude each other.
    """
    if options.nbest > options.beam:
        raise UsageError(f"--nbest {options.nbest} needs a wider beam: give --beam {options.nbest} or more")
    texts = [text for text in options.spaced if text]
    if options.out and len(texts) != 1:
        raise UsageError("--out draws the attention of one sentence: give one text")
    if options.out and trained.config.attention == "none":
        raise UsageError(f"{trained.source} has no attention to draw: it was trained with --attention none")
    found = iter(best_translations(trained, texts, options, options.nbest))
    return [next(found) if text else [] for text in options.spaced]


def best_translations(
    trained: Trained, texts: Sequence[str], options: SearchOptions, nbest: int = 1
) -> list[list[Translation]]:
    """The n best translations of each sentence; sentences of similar length share a batch."""
    sources = [trained.codec.split(prepared(trained.config, text)) for text in texts]
    left = sorted(range(len(texts)), key=lambda place: -len(sources[place]))
    found = dict[int, list[Translation]]()
    while left:
        rows = min(ROWS, POSITIONS // (len(sources[left[0]]) + 1))
        size = max(1, rows // options.beam)
        batch, left = left[:size], left[size:]
        translations = _translated(trained, [sources[place] for place in batch], options, nbest)
        found.update(zip(batch, translations, strict=True))
    return [found[place] for place in range(len(texts))]


def _translated(
    trained: Trained, sources: list[list[str]], options: SearchOptions, nbest: int
) -> list[list[Translation]]:
    """The n best translations of each tokenized sentence, from one batch."""
    import torch

    from rnncli.data.pairs import side_by_side
    from rnncli.models.decoding import beam_search
    from rnncli.models.recorded import graphs_on

    model: Any = trained.model
    units, vocabulary = trained.codec.units, trained.codec.vocabulary
    numbers = [vocabulary.encode(source) for source in sources]
    with torch.inference_mode():
        batch = side_by_side([(source, ()) for source in numbers], trained.device)
        encoded, states = model.encode(batch.source, batch.lengths)
        best = beam_search(
            model.step,
            [encoded, *states],
            start=START,
            end=END,
            width=options.beam,
            max_length=(2 * batch.lengths + 20).tolist(),
            length_power=options.length_power,
            banned=(START,) if trained.config.attention != "none" else (START, UNKNOWN),
            graphs=graphs_on(next(model.parameters()).device),
        )
        found = [(place, each) for place, some in enumerate(best) for each in some[:nbest]]
        weights = model.weights(side_by_side([(numbers[place], each.tokens) for place, each in found], trained.device))
    translations: list[list[Translation]] = [[] for _ in sources]
    for row, (place, each) in enumerate(found):
        source, tokens = sources[place], vocabulary.decode(each.tokens)
        attended = [] if weights is None else weights[row, : len(tokens) + 1, : len(source) + 1]
        for at in [at for at, number in enumerate(each.tokens) if number == UNKNOWN]:
            tokens[at] = source[int(attended[at][:-1].argmax())]  # copy the source token with the greatest weight
        shown, read = ([*map(units.shown, part), SPECIALS[END]] for part in (tokens, source))
        text = "".join(units.join(tokens)).strip()
        attention = [row.tolist() for row in attended]
        unknown = trained.codec.unknown(source)
        translations[place].append(Translation(text, each.log_probability, each.score, shown, read, attention, unknown))
    return translations


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(SearchOptions):
    """The pairs to measure on, and options of the beam search."""

    split: str = option(
        "test",
        "The part of the corpus to measure on; test of multi30k is test_2016_flickr.",
        choices=("test", "validation", "test-2017", "test-2018"),
    )
    corpus: tuple[str, ...] = option((), "Measure on multi30k, or this file: a sentence, a tab, its translation.")
    source: str | None = option(None, "Measure on a file with one sentence per line.")
    target: str | None = option(None, "The translations of --source, line by line.")
    bleu_tokenize: str = option(
        "auto", "sacrebleu's tokenizer; auto: by the script of the translations", choices=BLEU_TOKENIZERS
    )


def evaluation_pairs(trained: Trained, options: EvaluateOptions) -> "Lines":
    """The pairs to measure on; raises UsageError if there are none, or if the training data has changed."""
    from rnncli.data.pairs import PairSpec, read_paired, read_pairs

    config: TranslateConfig = trained.config
    files = options.source, options.target, None, None
    other = PairSpec(options.corpus, config.pair, *files, config.columns, config.layout)
    is_other = bool(other.corpus or other.source or other.target)
    divided = (other if is_other else config.pair_spec).divided
    if divided and options.split in divided.more_tests:
        return divided.test_pairs(options.split, config.pair)
    if options.split not in ("test", "validation"):
        raise UsageError(f"--split {options.split}: only multi30k has it; give --corpus multi30k, or leave --split out")
    if other.divided:
        data = read_paired(other, config.hold_out)
    elif is_other:
        return read_pairs(other).training
    else:
        with trained.reading_again():
            data = read_paired(trained.config.pair_spec, trained.config.hold_out)
        trained.check_unchanged(data.name, data.fingerprint)
    if options.split == "test" and not data.test:
        raise UsageError(f"{trained.source} has no pairs to test on: give --source and --target, or --split validation")
    return data.test if options.split == "test" else data.validation


def evaluate(trained: Trained, options: EvaluateOptions) -> dict[str, Any]:
    """Loss, accuracy and perplexity on the reference translations; BLEU, chrF and exact matches of the search."""
    from rnncli.training.metrics import prediction_metrics

    pairs = evaluation_pairs(trained, options)
    data = encode(trained.config, trained.codec, pairs, trained.device)
    metrics: Metrics = prediction_metrics(trained.model, data.in_order(256))
    found = [best.text for (best,) in best_translations(trained, [source for source, _ in pairs], options)]
    references = [prepared(trained.config, target).strip() for _, target in pairs]
    scored = score_translations(found, references, options.bleu_tokenize)
    exact = sum(one == other for one, other in zip(found, references, strict=True)) / len(pairs)
    counted = {"exact_match": exact, "sentences": len(pairs), "signatures": scored.signatures}
    return {**metrics, **scored.scores, **counted}


def evaluation_name(trained: Trained, options: EvaluateOptions) -> str:
    """The name of the data that `evaluate` measures on."""
    if options.source:
        return Path(options.source).name
    from rnncli.data.pairs import PairSpec

    corpus = " + ".join(options.corpus)
    if corpus and not PairSpec(options.corpus).divided:
        return corpus
    return f"{corpus or trained.payload['corpus']}, {options.split}"


def translation_panels(trained: Trained) -> Iterator[Panel]:
    """Translations of a few held-out sentences, and the attention of the first."""
    pairs = evaluation_pairs(trained, EvaluateOptions(split="validation"))[:6]
    options = TranslateOptions(texts=tuple(source for source, _ in pairs))
    found = [best[0] for best in translate(trained, options)]
    texts = [
        [source, f"{best.text}\n({target})" if best.text != target else best.text]
        for (source, target), best in zip(pairs, found, strict=True)
    ]
    yield samples("Translations", "of held-out sentences; in brackets the reference, if it differs", texts)
    first = found[0]
    if first.attention:
        across, down = (list(map(visible, tokens)) for tokens in (first.source_tokens, first.tokens))
        yield attention(f"{pairs[0][0]} → {first.text}", across, down, first.attention)


TASK = Task(
    name="translate",
    summary=OUTLINES["translate"].summary,
    Config=TranslateConfig,
    resolve_defaults=resolve_defaults,
    corpora=(("multi30k",), ("dates",)),
    build=build,
    build_model=build_model,
    keeps={"fingerprint": None, "tokenizer": KINDS, "vocabulary": None},
    evaluate=Action(EvaluateOptions, evaluate, "rnn evaluate translate --beam 5", corpus=evaluation_name),
    panels={"Translations": translation_panels},
    presets={"sentences": SENTENCES},
    implied_preset=implied_preset,
    uses={
        "translate": Action(TranslateOptions, translate, 'rnn translate "the third of march, nineteen eighty-seven"')
    },
    example="rnn train translate --corpus pairs.tsv",
    quick=Quick(45, ("dates",)),
)
