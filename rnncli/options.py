"""The options of `rnncli.train` and of a model's methods, as types: tests/support/option_types.py."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypedDict

from torch import nn

from rnncli.data.from_python import CorpusLike
from rnncli.language.generate import DrawnToken


class TrainingOptions(TypedDict, total=False):
    """How to train: steps, optimizer, schedule, limits, and device."""

    epochs: int
    """Passes over the data; 0: until --max-time. (default: 10)"""
    batch_size: int
    """Sequences that are read at once. (default: 32)"""
    accumulate: int
    """Batches per step: the same steps as N times --batch-size, in the memory of one batch. (default: 1)"""
    optimizer: str
    """Optimizer. (default: 'adamw')"""
    lr: float
    """Learning rate. (default: 0.001)"""
    momentum: float
    """Momentum of SGD, RMSprop and Muon's matrices. (default: 0.9)"""
    beta1: float
    """First beta of Adam, AdamW and Muon's other parameters. (default: 0.9)"""
    beta2: float
    """Second beta of the same. (default: 0.999)"""
    weight_decay: float
    """Weight decay; SGD, RMSprop and Adam add it to the gradient (L2). (default: 0.0)"""
    average: float
    """Decay of a moving average of the weights, which is then validated and kept; 0: none. (default: 0.0)"""
    schedule: Literal["constant", "exponential", "cosine", "slanted", "plateau"]
    """How the learning rate moves. (default: 'constant')"""
    decay: float
    """exponential: per-epoch factor; plateau: per-drop factor. (default: 0.9999)"""
    warmup: float
    """cosine, slanted: share of the steps that warm up. (default: 0.0)"""
    lr_ratio: float
    """slanted: the greatest learning rate over the least. (default: 32.0)"""
    layer_decay: float
    """Divide the learning rate by this from each layer to the one below (ULMFiT: 2.6); 1: one rate. (default: 1.0)
    """
    unfreeze_every: int
    """Epochs after which one more layer is trained, from the output down (ULMFiT: 1); 0: all from the start. (default:
    0)
    """
    clip: float
    """Greatest norm of the gradient; 0: no clipping. (default: 1.0)"""
    bptt: int
    """Truncate backpropagation to this many steps; 0: whole sequences. (default: 0)"""
    patience: int
    """Validations without gain before stopping (plateau: before a drop); 0: never. (default: 0)"""
    validate_every: int
    """Steps between validations; 0: once per epoch. (default: 0)"""
    max_time: float
    """Seconds of training at most; 0: no limit. (default: 0.0)"""
    save_every: float
    """Seconds between saves. (default: 60.0)"""
    seed: int
    """Seed of everything random. (default: 0)"""
    precision: Literal["auto", "float32", "tf32", "bfloat16", "float16"]
    """Precision of a large net's matrix products; auto: the fastest that keeps the task's loss. (default: 'auto')
    """
    graphs: Literal["auto", "off", "on"] | bool
    """Record training steps as CUDA graphs, and replay them; auto: on CUDA, where it is possible. (default: 'auto')
    """
    device: Literal["auto", "cpu", "cuda", "mps"]
    """Where to train. (default: 'auto')"""


class RecurrentOptions(TrainingOptions, total=False):
    """The user's settings of a recurrent net and its training."""

    cell: str | type[nn.Module]
    """elman, rated, gru, lstm, 9 others (docs/cells.md), or PATH.py:Class. (default: 'elman')"""
    hidden: int | str | Sequence[int]
    """Hidden units by layer: 64 or 64,32. (default: '64')"""
    activation: str | None
    """Nonlinearity of the cell, where it is free: tanh, sigmoid, relu."""
    learn_h0: bool
    """Learn the first state, or keep it at zero. (default: True)"""
    init: Literal["default", "book"]
    """Initial weights: the task's own, or the book's (normal / sqrt(inputs + outputs), biases and states 0) (default:
    'default')
    """
    layer_dropout: float
    """Dropout between layers. (default: 0.0)"""
    block: Literal["none", "residual"]
    """Around each layer: none, or a residual block, for deep nets (norm, cell, gate, projection, skip connection).
    (default: 'none')
    """
    backend: Literal["auto", "reference", "fused", "torch", "triton"]
    """How to unroll the cells. (default: 'auto')"""
    recompute: bool
    """Keep only states, and compute the rest again in the backward pass: less memory, more time. (default: False)
    """


class TrainParity(RecurrentOptions, total=False):
    """Options of `rnncli.train('parity')`."""

    bits: int
    """Length of the strings. (default: 12)"""
    zero: int
    """Input for a 0, -1 or 0; the input for a 1 is 1. (default: -1)"""
    model: Literal["rnn", "mlp"]
    """A recurrent net, or a feed-forward net that reads all bits at once (default: 'rnn')"""
    patience_steps: int
    """Restart with new weights after N steps without a solution; 0: never. (default: 300)"""
    hidden: int | str | Sequence[int]
    """Hidden units by layer: 64 or 64,32. (default: '4')"""
    epochs: int
    """Passes over the data; 0: until --max-time. (default: 400)"""
    batch_size: int
    """Sequences that are read at once. (default: 64)"""
    optimizer: str
    """Optimizer. (default: 'adam')"""
    lr: float
    """Learning rate. (default: 0.05)"""
    beta2: float
    """Second beta of the same. (default: 0.9)"""
    validate_every: int
    """Steps between validations; 0: once per epoch. (default: 20)"""


class LanguageOptions(RecurrentOptions, total=False):
    """Settings of a language model."""

    embedding: int
    """Size of the token vectors (D). (default: 64)"""
    tied: bool
    """Tie output weights to the token vectors (Press and Wolf 2017). (default: False)"""
    word_dropout: float
    """Share of the input tokens that are blanked (Iyyer 2015). (default: 0.0)"""
    embedding_dropout: float
    """Dropout on the token vectors, one mask per sequence (Gal 2016). (default: 0.0)"""
    output_dropout: float
    """Dropout on the top layer, one mask per sequence. (default: 0.0)"""
    weight_drop: float
    """Dropout on the recurrent weights, one mask per sequence (Merity 2018). (default: 0.0)"""
    activation_penalty: float
    """Penalty on large outputs of the top layer: AR (Merity 2017). (default: 0.0)"""
    change_penalty: float
    """Penalty on changes of these outputs from step to step: TAR (Merity 2017). (default: 0.0)"""
    label_smoothing: float
    """Share of each target that is spread over all tokens. (default: 0.0)"""


class WarmStartOptions(LanguageOptions, total=False):
    """Settings of a model that may start from another one."""

    init_from: str | Path | None
    """Start from a run, folder or file of the same task: its weights, its shape, and its vocabulary, which grows.
    """


class VectorOptions(TypedDict, total=False):
    """Settings of a net with word vectors that may come from a file."""

    embeddings: str | Path | None
    """Start from word vectors: a file, or an imported name."""
    freeze_embeddings: bool
    """Keep the initial word vectors. (default: False)"""


class WordOptions(VectorOptions, WarmStartOptions, total=False):
    """Settings of a language model of words."""

    spelling: int
    """Longest character n-gram that is added to the word vectors; 0: none. (default: 0)"""
    embeddings: str | Path | None
    """Start from word vectors: a file, or an imported name."""
    softmax: Literal["full", "adaptive", "sampled"]
    """Train on the scores of all words, of rare words in classes, or of a sample; the latter two are faster. (default:
    'full')
    """


class HoldOutOptions(TypedDict, total=False):
    """Settings of a task that holds out lines of what it reads."""

    hold_out: float
    """Share held out for validation, evenly spread; 0: none. (default: 0.1)"""
    hold_out_every: int
    """Hold out every N-th one instead; 0: not. (default: 0)"""
    hold_out_count: int
    """Hold out N instead; 0: not. (default: 0)"""


class TrainPoetryLm(HoldOutOptions, WordOptions, total=False):
    """Options of `rnncli.train('poetry-lm')`."""

    corpus: CorpusLike
    """Name, file, folder or - (standard input); may be repeated."""
    voices: bool
    """Each of several corpora is a voice to write in, labelled by its name; or they form one text. (default: True)
    """
    tokens: Literal["cased", "words", "spaced"]
    """Token; cased: as written; words: lower-case words; spaced: split at blanks. (default: 'cased')"""
    valid: CorpusLike
    """Text to validate on, by name or path; may be repeated."""
    word_dropout: float
    """Share of the input tokens that are blanked (Iyyer 2015). (default: 0.1)"""
    embedding_dropout: float
    """Dropout on the token vectors, one mask per sequence (Gal 2016). (default: 0.7)"""
    output_dropout: float
    """Dropout on the top layer, one mask per sequence. (default: 0.7)"""
    label_smoothing: float
    """Share of each target that is spread over all tokens. (default: 0.05)"""
    min_count: int
    """Words seen less often in the training lines are UNKNOWN. (default: 2)"""
    embedding: int
    """Size of the token vectors (D). (default: 512)"""
    tied: bool
    """Tie output weights to the token vectors (Press and Wolf 2017). (default: True)"""
    cell: str | type[nn.Module]
    """elman, rated, gru, lstm, 9 others (docs/cells.md), or PATH.py:Class. (default: 'gru:reset-after')"""
    hidden: int | str | Sequence[int]
    """Hidden units by layer: 64 or 64,32. (default: '192')"""
    epochs: int
    """Passes over the data; 0: until --max-time. (default: 16)"""
    lr: float
    """Learning rate. (default: 0.003)"""
    weight_decay: float
    """Weight decay; SGD, RMSprop and Adam add it to the gradient (L2). (default: 0.1)"""
    schedule: Literal["constant", "exponential", "cosine", "slanted", "plateau"]
    """How the learning rate moves. (default: 'cosine')"""
    warmup: float
    """cosine, slanted: share of the steps that warm up. (default: 0.05)"""


class LabellingOptions(VectorOptions, RecurrentOptions, total=False):
    """Settings of a net that reads words by tag, by word and by spelling, and labels them."""

    features: str | Sequence[str]
    """Features of a word, comma-separated: tags, words, chars. (default: ('words', 'chars'))"""
    init_from: str | Path | None
    """Start from a language model: run, folder or file."""
    bidirectional: bool
    """Read forwards and backwards. (default: True)"""
    word_size: int
    """Size of the word vectors. (default: 32)"""
    char_size: int
    """Size of the spelling vectors. (default: 32)"""
    char_ngrams: int
    """Longest character n-gram of a spelling. (default: 5)"""
    min_count: int
    """Words and n-grams seen less often in training are unknown. (default: 2)"""
    word_dropout: float
    """Share of the words that are blanked in training. (default: 0.2)"""
    char_dropout: float
    """Dropout on character n-grams. (default: 0.4)"""
    input_dropout: float
    """Dropout on the input vectors. (default: 0.3)"""
    output_dropout: float
    """Dropout on the top layer. (default: 0.3)"""
    label_smoothing: float
    """Share of each target that is spread over all labels. (default: 0.0)"""
    cell: str | type[nn.Module]
    """elman, rated, gru, lstm, 9 others (docs/cells.md), or PATH.py:Class. (default: 'lstm:none')"""
    schedule: Literal["constant", "exponential", "cosine", "slanted", "plateau"]
    """How the learning rate moves. (default: 'cosine')"""


class TableOptions(TypedDict, total=False):
    """Settings of a task that reads tables."""

    separator: str
    """Separator of fields: comma, tab, semicolon, pipe, blank or a character; by default, the file's ending decides.
    """
    header: bool
    """Whether the first row of a table names its columns. (default: False)"""
    quoting: Literal["auto", "csv", "none"]
    """Quotation marks enclose fields, as in CSV, or are text (none); auto: text with tabs and blanks. (default:
    'auto')
    """


class TrainPoetryClassify(TableOptions, HoldOutOptions, LabellingOptions, total=False):
    """Options of `rnncli.train('poetry-classify')`."""

    corpus: CorpusLike
    """Name or NAME=FILE, one per label; or a table, such as a CSV or TSV file."""
    text_column: str
    """Column with the text: name or number. (default: 'text')"""
    label_column: str
    """Column with the label: name or number. (default: 'label')"""
    header: bool
    """Whether the first row of a table names its columns. (default: True)"""
    distinct: bool
    """Use repeated lines once, or as often as they occur. (default: True)"""
    samples_per_class: int
    """Use only the first N texts of each label; 0: all. (default: 0)"""
    folds: int
    """Folds of the cross-validation; 0: none. (default: 5)"""
    group: str
    """Unit that no split divides, and that is scored as well: line, stanza, or N lines. (default: 'line')"""
    hold_out: float
    """Without folds: share held out, evenly spread; 0: none. (default: 0.0)"""
    hold_out_every: int
    """Without folds: hold out every N-th text. (default: 0)"""
    hold_out_count: int
    """Without folds: hold out N random texts (--seed). (default: 0)"""
    class_weights: bool
    """Give rare labels more weight. (default: False)"""
    bag: bool
    """Also feed the sum of the input vectors to the output layer. (default: True)"""
    pooling: Literal["last", "concat"]
    """States that the output layer reads: last, or concat: also the maximum and the mean over all steps. (default:
    'last')
    """
    ensemble: int
    """Nets whose predictions are averaged. (default: 3)"""
    hidden: int | str | Sequence[int]
    """Hidden units by layer: 64 or 64,32. (default: '64')"""
    epochs: int
    """Passes over the data; 0: until --max-time. (default: 12)"""
    batch_size: int
    """Sequences that are read at once. (default: 64)"""
    lr: float
    """Learning rate. (default: 0.004)"""
    weight_decay: float
    """Weight decay; SGD, RMSprop and Adam add it to the gradient (L2). (default: 0.01)"""


class TrainTag(TableOptions, HoldOutOptions, LabellingOptions, total=False):
    """Options of `rnncli.train('tag')`."""

    corpus: CorpusLike
    """A corpus with tags, such as brown, or a file with one word and label per line. (default: ('hillside',
    'nocturne'))
    """
    columns: str
    """Columns of a file with the word and its label, by name or number, such as 1,2 or form,upos; else detected."""
    word_size: int
    """Size of the word vectors. (default: 64)"""
    char_size: int
    """Size of the spelling vectors. (default: 64)"""
    word_dropout: float
    """Share of the words that are blanked in training. (default: 0.1)"""
    char_dropout: float
    """Dropout on character n-grams. (default: 0.0)"""
    input_dropout: float
    """Dropout on the input vectors. (default: 0.4)"""
    output_dropout: float
    """Dropout on the top layer. (default: 0.5)"""
    hidden: int | str | Sequence[int]
    """Hidden units by layer: 64 or 64,32. (default: '128')"""
    epochs: int
    """Passes over the data; 0: until --max-time. (default: 20)"""
    batch_size: int
    """Sequences that are read at once. (default: 16)"""
    clip: float
    """Greatest norm of the gradient; 0: no clipping. (default: 5.0)"""
    warmup: float
    """cosine, slanted: share of the steps that warm up. (default: 0.02)"""
    lr: float
    """Learning rate. (default: 0.004)"""
    weight_decay: float
    """Weight decay; SGD, RMSprop and Adam add it to the gradient (L2). (default: 0.01)"""


class TrainWikiLm(WordOptions, total=False):
    """Options of `rnncli.train('wiki-lm')`."""

    corpus: CorpusLike
    """Name of a corpus from `rnn data prepare`; or a text by name or path. (default: ('toyworld',))"""
    tokens: Literal["words", "spaced"]
    """Kind of token; words: without punctuation; spaced: split at blanks, <unk> is UNKNOWN. (default: 'words')"""
    valid: CorpusLike
    """Text to validate on, by name or path; may be repeated."""
    vocab_size: int
    """Keep only the N most frequent words; all others are UNKNOWN. (default: 10000)"""
    min_count: int
    """Words seen less often in the corpus are UNKNOWN. (default: 1)"""
    keep_words: str | Sequence[str]
    """Words to keep even if they are rare, comma-separated."""
    running: bool
    """Read running text, with END after each sentence and the state carried over; or single sentences. (default:
    False)
    """
    longest: int
    """Cut sentences after N words. (default: 100)"""
    end_share: float
    """Share of the sentences, drawn in each epoch, whose END is a target; one-word sentences always count. (default:
    1.0)
    """
    unit_vectors: Literal["no", "row", "matrix"] | bool
    """Scale input vectors to norm 1: each when it is read (row; same as the bare flag), the whole matrix after each
    step (matrix; as in the book), or not (no; same as --no-unit-vectors) (default: 'no')
    """
    cell: str | type[nn.Module]
    """elman, rated, gru, lstm, 9 others (docs/cells.md), or PATH.py:Class. (default: 'gru:reset-after')"""
    hidden: int | str | Sequence[int]
    """Hidden units by layer: 64 or 64,32. (default: '128')"""
    epochs: int
    """Passes over the data; 0: until --max-time. (default: 5)"""
    batch_size: int
    """Sequences that are read at once. (default: 64)"""
    lr: float
    """Learning rate. (default: 0.02)"""
    weight_decay: float
    """Weight decay; SGD, RMSprop and Adam add it to the gradient (L2). (default: 0.3)"""
    schedule: Literal["constant", "exponential", "cosine", "slanted", "plateau"]
    """How the learning rate moves. (default: 'cosine')"""
    warmup: float
    """cosine, slanted: share of the steps that warm up. (default: 0.05)"""


class TrainCharLm(HoldOutOptions, WarmStartOptions, total=False):
    """Options of `rnncli.train('char-lm')`."""

    corpus: CorpusLike
    """Name, file, folder or - (standard input); may be repeated."""
    voices: bool
    """Each of several corpora is a voice to write in, labelled by its name; or they form one text. (default: True)
    """
    tokens: Literal["char", "bytes", "word", "spaced", "bpe"]
    """Kind of token; spaced: split at blanks, <unk> is UNKNOWN. (default: 'char')"""
    valid: CorpusLike
    """Text to validate on, by name or path; may be repeated."""
    vocab_size: int
    """Keep only the N most frequent tokens; 0: all (bpe: 4,000). (default: 0)"""
    min_count: int
    """Tokens seen less often in the training text are UNKNOWN. (default: 1)"""
    hold_out: float
    """Share held out at the end of the text; 0: none. (default: 0.1)"""
    hold_out_every: int
    """Hold out every N-th line instead. (default: 0)"""
    hold_out_count: int
    """Hold out the last N characters. (default: 0)"""
    embedding: int
    """Size of the token vectors (D). (default: 64)"""
    cell: str | type[nn.Module]
    """elman, rated, gru, lstm, 9 others (docs/cells.md), or PATH.py:Class. (default: 'lstm:none')"""
    hidden: int | str | Sequence[int]
    """Hidden units by layer: 64 or 64,32. (default: '256,256')"""
    epochs: int
    """Passes over the data; 0: until --max-time. (default: 4)"""
    batch_size: int
    """Sequences that are read at once. (default: 64)"""
    bptt: int
    """Truncate backpropagation to this many steps; 0: whole sequences. (default: 32)"""
    optimizer: str
    """Optimizer. (default: 'normuon')"""
    lr: float
    """Learning rate. (default: 0.03)"""
    momentum: float
    """Momentum of SGD, RMSprop and Muon's matrices. (default: 0.95)"""
    beta2: float
    """Second beta of the same. (default: 0.99)"""
    weight_decay: float
    """Weight decay; SGD, RMSprop and Adam add it to the gradient (L2). (default: 0.2)"""
    schedule: Literal["constant", "exponential", "cosine", "slanted", "plateau"]
    """How the learning rate moves. (default: 'cosine')"""
    warmup: float
    """cosine, slanted: share of the steps that warm up. (default: 0.05)"""


class TrainTranslate(TableOptions, VectorOptions, LanguageOptions, total=False):
    """Options of `rnncli.train('translate')`."""

    corpus: CorpusLike
    """dates, multi30k, or a table: a sentence, a tab, its translation."""
    pair: str
    """Languages of multi30k, from-to: en, de, fr. (default: 'de-en')"""
    source: str | Path | None
    """A file with one sentence per line, instead of --corpus."""
    target: str | Path | None
    """The translations of --source, line by line."""
    valid_source: str | Path | None
    """Sentences to validate on."""
    valid_target: str | Path | None
    """The translations of --valid-source."""
    columns: str
    """Columns of a table with a sentence and its translation, by number or name. (default: '1,2')"""
    hold_out: float
    """Share of a single file held out for validation, and the same share for testing. (default: 0.1)"""
    tokens: Literal["char", "bytes", "word", "spaced", "bpe"]
    """Kind of token. (default: 'char')"""
    vocab_size: int
    """Keep only the N most frequent tokens; 0: all (bpe: 4,000). (default: 0)"""
    lowercase: bool
    """Convert all text to lower case. (default: False)"""
    attention: Literal["none", "additive", "dot", "general"]
    """Kind of attention to the source. (default: 'general')"""
    bidirectional: bool
    """Read the source in both directions. (default: True)"""
    tied: bool
    """Tie output weights to the token vectors (Press and Wolf 2017). (default: True)"""
    cell: str | type[nn.Module]
    """elman, rated, gru, lstm, 9 others (docs/cells.md), or PATH.py:Class. (default: 'lstm:none')"""
    hidden: int | str | Sequence[int]
    """Hidden units by layer: 64 or 64,32. (default: '128')"""
    epochs: int
    """Passes over the data; 0: until --max-time. (default: 3)"""
    batch_size: int
    """Sequences that are read at once. (default: 64)"""
    optimizer: str
    """Optimizer. (default: 'muon')"""
    lr: float
    """Learning rate. (default: 0.01)"""
    momentum: float
    """Momentum of SGD, RMSprop and Muon's matrices. (default: 0.95)"""
    beta2: float
    """Second beta of the same. (default: 0.99)"""
    schedule: Literal["constant", "exponential", "cosine", "slanted", "plateau"]
    """How the learning rate moves. (default: 'cosine')"""
    warmup: float
    """cosine, slanted: share of the steps that warm up. (default: 0.05)"""


class GenerateOptions(TypedDict, total=False):
    """Options of `Model.generate`."""

    prime: str
    """First words of the first line, or @FILE for those in a file."""
    length: int
    """Maximum number of words per line. (default: 200)"""
    count: int
    """Number of texts to write. (default: 1)"""
    stop: str | None
    """End before this text appears."""
    label: str | None
    """Voice to write in, for a model with several."""
    beam: int
    """Beam search for the likeliest text, of this width; 0: draw at random. (default: 0)"""
    nbest: int
    """Number of texts of the beam search to show, best first. (default: 1)"""
    seed: int | None
    """Random seed; without it, every call gives another text."""
    novelty: bool
    """Print how much of the text is copied from the training text. (default: False)"""
    listen: Callable[[DrawnToken], None] | None
    """Called with each token as it is drawn."""
    temperature: float
    """Below 1: safer; above 1: bolder; 0: always the likeliest token. (default: 1.0)"""
    top_k: int
    """Draw only from the k likeliest tokens; 0: from all. (default: 0)"""
    top_p: float
    """Draw from the likeliest tokens that together reach p; 0: from all. (default: 0.0)"""
    min_p: float
    """Draw from tokens at least p times as likely as the likeliest. (default: 0.0)"""
    repetition_penalty: float
    """Above 1: tokens in the window become less likely. (default: 1.0)"""
    repetition_window: int
    """Length of the penalty's window, in tokens. (default: 64)"""
    no_repeat: int
    """Never repeat N tokens in a row; 0: allow repeats. (default: 0)"""
    lines: int
    """Number of lines to write. (default: 4)"""


class ScoreOptions(TypedDict, total=False):
    """Options of `Model.score`."""

    file: str | Path | None
    """Take every line of this file, or of - (standard input)."""
    label: str | None
    """Score in this voice, for a model with several."""
    by: Literal["perplexity", "probability"]
    """Rank by perplexity per token, or by the probability of the whole text (default: 'perplexity')"""


class ClassifyOptions(TypedDict, total=False):
    """Options of `Model.classify`."""

    file: str | Path | None
    """Take every line of this file, or of - (standard input)."""


class TagOptions(TypedDict, total=False):
    """Options of `Model.tag`."""

    file: str | Path | None
    """Take every line of this file, or of - (standard input)."""
    split_words: Literal["training", "blanks", "nltk"]
    """Split sentences into words as in the training file, only at blanks, or like NLTK (default: 'training')"""


class TranslateOptions(TypedDict, total=False):
    """Options of `Model.translate`."""

    beam: int
    """Width of the beam search; 1: greedy. (default: 5)"""
    length_power: float
    """Divide log-probabilities by the length to this power. (default: 1.0)"""
    file: str | Path | None
    """Take every line of this file, or of - (standard input)."""
    nbest: int
    """Number of translations of each sentence. (default: 1)"""
    out: str | Path | None
    """Draw the attention of one sentence to this file (PNG, SVG, PDF)."""


class ActivationsOptions(TypedDict, total=False):
    """Options of `Model.activations`."""

    max_tokens: int
    """Maximum number of tokens to read. (default: 2000)"""
    label: str | None
    """Read it in this voice, for a model with several."""


class EvaluateOptions(TypedDict, total=False):
    """Options of `Model.evaluate`."""

    beam: int
    """Width of the beam search; 1: greedy. (default: 5)"""
    length_power: float
    """Divide log-probabilities by the length to this power. (default: 1.0)"""
    split: Literal["validation", "test"]
    """validation, or test, the corpus's own test text (ptb). (default: 'validation')"""
    corpus: CorpusLike
    """Evaluate on all of this text instead of the held-out text."""
    source: str | Path | None
    """Measure on a file with one sentence per line."""
    target: str | Path | None
    """The translations of --source, line by line."""
    bleu_tokenize: Literal["auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none"]
    """sacrebleu's tokenizer; auto: by the script of the translations (default: 'auto')"""
    dynamic: float
    """Dynamic evaluation: learning rate on the text already scored (3e-4 for characters, 1e-3 for words); 0: off.
    (default: 0.0)
    """
    cache: int
    """Neural cache: remember the last N tokens (2000) and expect them in similar contexts; 0: off. (default: 0)"""
    cache_theta: float
    """Neural cache: greater values require more similar contexts. (default: 0.3)"""
    cache_share: float
    """Neural cache: its weight in the mixture of probabilities. (default: 0.1)"""
    out: str | Path | None
    """Draw the confusion matrix to this file (PNG, SVG, PDF)."""
    bits: int | None
    """Length of the strings; by default as in training."""
    strings: int
    """Number of random strings, for more than 16 bits. (default: 1000)"""
    seed: int
    """Seed of the random strings. (default: 0)"""
