"""Plain English: no page, module or name has a word from the left columns of the lists in CONTRIBUTING."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_backend

ROOT = Path(__file__).parents[1]
# Files and folders that are held to the rules; a folder counts with its files of the kinds in `PROSE`.
COVERED = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs",
    "rnncli",
    "tests",
    "benchmarks",
    "pyproject.toml",
    "data/README.md",
    "checkpoints/README.md",
)

# A sentence begins after a blank line, a full stop, a cell border, or the mark of a heading or a list.
_BEGIN = r"(?:\A\s*|[.!?:]\s+|\n\s*\n|\|\s*|^\s*(?:[-*#>]+|\d+\.)\s+(?:\*\*)?)"
_UNIT = (
    r"(?:second|minute|step|epoch|line|row|sentence|sequence|word|token|character|text|file|layer|unit|cell|gate|weight|shard"
    r"|article|paragraph|task|verb|label|size|panel|batch|process|machine|run|core|prediction|object|GPU|GB|KB)"
)
_COUNT = (
    r"(?:\d(?:[\d.,]*\d)?|ms|µs|us|nats|bits|bytes|tokens|words|lines|characters|steps|sentences|rows|pages|operations"
    r"|messages)"
)
# The words that a phrase is to be replaced by, a pattern of the phrase, and sentences that the pattern must catch.
RULES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("again", r"\banew\b", ("Each line starts anew.",)),
    ("next to, in addition to", r"\bbeside\b", ("The page lies beside the checkpoint.",)),
    ("only", r"\balone\b", ("It reads the last line alone.",)),
    ("N", r"\bso many\b", ("Every so many-th line is held out.", "One of so\nmany.")),
    ("continue", r"\b(?:go|goes|going|gone|went) on\b", ("The run goes on.", "A run went on.", "Runs go on.")),
    (
        "a noun",
        _BEGIN + r"(?-i:What) (?:is|are|was|were|turns)\b",
        ("What is asked counts.", "- What turns gradients into steps."),
    ),
    ("prints, requires", r"\b(?:is|are|was|were|be|been) (?:said|told|asked)\b", ("The seed is said.", "It was told.")),
    ("predict", r"\bforesees?\b|\bforeseen\b", ("The net foresees it.",)),
    ("so that … not", r"\blest\b", ("It stops, lest it be learned.",)),
    (
        "the user, the client",
        r"\bwho(?:m|so)?ever\b|\bevery(?:one|body) whom\b",
        ("Whoever leaves.", "For everyone whom it left."),
    ),
    ("unknown", r"\bstrange\b", ("A strange word is skipped.",)),
    ("generator, seed", r"\bdice\b", ("Seed of the dice.",)),
    ("at random", r"\b(?:by|of) chance\b", ("Some units follow it by chance.",)),
    ("available", r"\b(?:to be|be|is|are) had\b", ("A GPU is to be had.",)),
    ("expected to work", r"\bshould do\b", ("2.10 is the oldest that should do.",)),
    ("untested", r"\buntried\b", ("It is untried.",)),
    ("estimated at", r"\bannounced as\b", ("It was announced as 37 minutes.",)),
    ("to completion", r"\bto (?:its|their) end\b", ("It was not run to its end.",)),
    ("ignores", r"\bnote of\b", ("A cosine schedule takes no note of it.",)),
    ("is redistributed", r"\bshares? goes? to\b", ("Its share goes to all others.",)),
    ("false positive", r"\b(?:that|which) (?:is|are) none\b", ("Nothing is taken for a copy that is none.",)),
    ("invalid", r"\bmakes? no sense\b", ("400 what makes no sense.",)),
    ("unknown routes or methods", r"\bwhat there is not\b", ("404 what there is not.",)),
    ("generation stops", r"\bwritten for no more\b", ("It is written for no more.",)),
    ("dominate", r"\babove all else\b", ("END is learned above all else.",)),
    ("comma-separated", r"\bcommas? parts? them\b", ("Commas part them.",)),
    ("a bug in rnn", r"\ba fault of rnn\b", ("This is a fault of rnn itself.",)),
    ("hold out every example", r"\bheld out whole\b", ("A label would be held out whole.",)),
    (
        "per (one text per line)",
        rf"\b(?:an?|one|each) (?:{_UNIT}|colour|vector|thread|device) an? {_UNIT}\b",
        ("It prints a text a line.",),
    ),
    ("per (3 ms per step)", rf"\b{_COUNT} an? {_UNIT}\b", ("It takes 3 ms a step.", "1,000 words a\nline.")),
)


def _part(*words: str) -> str:
    """A pattern of names with one of these words, alone or between underscores."""
    return rf"(?i:(?:\w*_)?(?:{'|'.join(words)})(?:_\w*)?)"


# What to call it instead, a pattern of whole names that are defined in the code, and names that the pattern must match.
NAMES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("generator, seed", _part("dice"), ("dice", "_dice")),
    ("unknown", _part("strange"), ("strange",)),
    ("banned", _part("barred"), ("barred",)),
    ("probs", _part("shares"), ("shares", "_first_shares")),
    ("max, min", "most|least", ("most", "least")),
    ("matmul", _part("products"), ("products", "suited_products", "small_products", "fast_products")),
    ("TorchForm, torch_form", _part("vendor") + "|VendorForm", ("vendor_form", "VendorForm")),
    ("independent_parts, validation_part, by_voice", "apart", ("apart",)),
    ("join_texts, decode_ids, concat_weights", "[Jj]oined", ("joined", "Joined")),
    ("trainable, training_ids, training_text", "learned", ("learned",)),
    ("target_mask, TextSpec", _part("asked"), ("asked", "Asked", "is_asked")),
    ("Encoding", "Reading", ("Reading",)),
    ("EvalSet", "[Jj]udged", ("Judged",)),
    ("CorpusEntry, IndexedCorpus, DumpFile", "Source", ("Source",)),
    ("TimeLoop, DecodeStep", "Steps", ("Steps",)),
    ("activations, record_states", _part("watch", "watched", "watching"), ("watch", "watching", "watch_words")),
    ("held_out_text", _part("passages?"), ("passage",)),
    ("TokenAccess", "Script", ("Script",)),
    ("resolve_defaults", _part("settles?", "settled"), ("settle", "settle_texts", "settled")),
    ("absolute_spec", _part("lasting"), ("lasting",)),
    ("texts (a module)", r"given\.py", ("given.py",)),
    ("warm_start (a module)", r"starting\.py", ("starting.py",)),
    ("token_text (a module)", r"running\.py", ("running.py",)),
    ("warm_start", _part("taking_over"), ("taking_over",)),
    ("dynamic_evaluation", _part("adapting"), ("adapting",)),
    ("cached_folder", _part("made_once"), ("made_once",)),
    ("input_dropout", _part("forgetful"), ("forgetful",)),
    ("projection", "bridge", ("bridge",)),
    ("add_label", _part("voiced"), ("voiced",)),
    ("init_bias", "expect", ("expect",)),
    ("score", "judges?", ("judge",)),
    ("empty_huge", _part("room"), ("room", "_room")),
    ("transposed", "turned", ("turned",)),
    ("reset_h", "let", ("let",)),
    ("d_h_carry", "beside|through", ("beside", "through")),
    ("forward, backward", "ahead|back", ("ahead", "back")),
    ("to_float, to_bf16", "wide|narrow", ("wide", "narrow")),
    ("the quantity that is few", _part("askew"), ("FEW_ASKEW",)),
)


def markdown_prose(text: str) -> str:
    """Everything but code blocks, code spans and the targets of links, on the lines where it stood."""
    text = re.sub(r"^```.*?^```$", lambda code: "\n" * code.group().count("\n"), text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`]+`", lambda code: "`" + "\n" * code.group().count("\n") + "`", text)
    return re.sub(r"\]\([^)\s]*\)", "]", text)


def python_prose(source: str) -> str:
    """The comments and strings of a module, on the lines where they stood."""
    lines = [""] * (source.count("\n") + 2)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] += token.string.lstrip("# ") + " "
        elif token.type == getattr(tokenize, "FSTRING_MIDDLE", None):  # from Python 3.12 on
            lines[token.start[0] - 1] += token.string
        elif token.type == tokenize.STRING and token.string[-1] in "'\"" and "b" not in token.string[:2].lower():
            for number, line in enumerate(token.string.strip("rRfFuU'\"").split("\n"), token.start[0] - 1):
                lines[number] += line.strip() + " "
    return "\n".join(lines)


PROSE: dict[str, Callable[[str], str]] = {".md": markdown_prose, ".py": python_prose, ".js": str, ".toml": str}


def defined(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of every class, function, parameter, variable and attribute that a module defines or assigns."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr


def name_hits(names: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str, str]]:
    """Line, name and what to call it; the name of a test is also read as a sentence."""
    for line, name in names:
        yield from ((line, name, better) for better, pattern, _ in NAMES if re.fullmatch(pattern, name))
        if name.startswith("test_"):
            yield from ((line, name, better) for _, _, better in hits(name.replace("_", " ")))


def hits(prose: str) -> Iterator[tuple[int, str, str]]:
    """Line, phrase and what to write in its place."""
    for better, pattern, _ in RULES:
        wrapped = pattern.replace(" ", r"(?:[ \t]+|[ \t]*\n[ \t]*)")  # a phrase may be broken by the end of a line
        for found in re.finditer(wrapped, prose, re.MULTILINE | re.IGNORECASE):
            yield prose.count("\n", 0, found.start()) + 1, " ".join(found.group().split()), better


def covered() -> Iterator[Path]:
    for name in COVERED:
        path = ROOT / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        ours = (each for each in found if "__pycache__" not in each.parts)  # which holds generated code
        yield from (each for each in ours if each.suffix in PROSE and each != Path(__file__))  # which quotes them all


@pytest.mark.parametrize("path", list(covered()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_is_plain_english(path: Path) -> None:
    text = path.read_text("utf-8")
    found = [*hits(PROSE[path.suffix](text))]
    if path.suffix == ".py":
        found += name_hits([(1, path.name), *defined(text)])
    assert [f"{path.name}:{line}: {phrase!r}: write {better!r}" for line, phrase, better in found] == []


def test_every_rule_catches_its_sentences_in_pages_and_in_code() -> None:
    assert len({better for better, _, _ in RULES}) == len(RULES)
    for better, pattern, sentences in RULES:
        for sentence in sentences:
            comment = sentence.replace("\n", "\n    # ")
            page = markdown_prose(f"# Title\n\n`value` is a name.\n\n{sentence}\n")
            module = python_prose(f"def value():\n    # {comment}\n    return 1\n")
            for prose in (page, module):
                assert better in {each for _, _, each in hits(prose)}, (pattern, prose)


def test_every_rule_of_names_catches_its_names_wherever_they_are_defined() -> None:
    assert len({better for better, _, _ in NAMES}) == len(NAMES)
    places = ("{} = 1", "class {}: ...", "def {}(): ...", "def f({}): ...", "self.{} = 1", "for {} in (): ...")
    for better, _, names in NAMES:
        for name in names:
            whole = name.endswith(".py")
            found = [(1, name)] if whole else defined("\n".join(place.format(name) for place in places))
            lines = sorted(line for line, _, each in name_hits(found) if each == better)
            assert lines == list(range(1, 2 if whole else len(places) + 1)), name


def test_names_of_tests_are_read_as_sentences_and_names_of_others_are_exempt() -> None:
    module = "import watching\n\ndef test_a_run_goes_on(): longest(learned=vendor.shares)\n"
    assert list(name_hits(defined(module))) == [(3, "test_a_run_goes_on", "continue")]


def test_code_spans_and_blocks_are_exempt_and_lines_are_counted() -> None:
    page = "# Title\n\nThe word `anew` is not\nused.\n\n```\nthe run goes on\n```\nThe run goes\non [here](anew.md).\n"
    assert list(hits(markdown_prose(page))) == [(9, "goes on", "continue")]
    module = 'text = """First.\n\nBegun anew."""\n\nname = anew  # alone\n'
    assert list(hits(python_prose(module))) == [(3, "anew", "again"), (5, "alone", "only")]


def test_the_word_list_of_contributing_is_what_the_rules_refuse() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Words")[2].partition("One word means")[0]
    listed = re.findall(r"`([^`]+)`", " ".join(row.split("|")[1] for row in table.splitlines() if row[:1] == "|"))
    assert len(listed) > 25
    assert [phrase for phrase in listed if not list(hits(f"{phrase}.\n"))] == []


def test_the_names_of_contributing_are_what_the_rules_refuse() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("One word means")[2].partition("\n\n##")[0]
    listed = re.findall(r"`([^`]+)`", " ".join(row.split("|")[1] for row in table.splitlines() if row[:1] == "|"))
    assert len(listed) > 30
    assert [name for name in listed if not list(name_hits([(1, name.replace(" ", "_"))]))] == []
