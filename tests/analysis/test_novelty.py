"""The overlap of two texts, against brute force; and training texts that are read again."""

from pathlib import Path

import numpy as np
import pytest

from rnncli.analysis import novelty as module
from rnncli.analysis.novelty import novelty, overlap
from rnncli.api import Training, load
from rnncli.data.vocabulary import Vocabulary
from rnncli.errors import UsageError
from rnncli.presets import resolve
from rnncli.task import Trained
from rnncli.tasks import TASKS


def brute_force(text: list[int], training: list[int]) -> tuple[int, list[bool]]:
    """The longest stretch of a text that occurs in another, and which of its 8-grams do."""

    def spelled(tokens: list[int]) -> str:
        return "".join(map(chr, np.array(tokens) + 100))

    other, N = spelled(training), len(text)
    longest = max(
        (end - begin for begin in range(N) for end in range(begin, N + 1) if spelled(text[begin:end]) in other),
        default=0,
    )
    return longest, [spelled(text[begin : begin + 8]) in other for begin in range(N - 7)]


@pytest.mark.parametrize("chunk", [10, 64, 1 << 20])
@pytest.mark.parametrize("V", [2, 3, 30])
def test_overlap_equals_brute_force(chunk: int, V: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    generator = np.random.default_rng(V)
    for length in (1, 2, 5, 8, 9, 23, 40):
        for copied in (0, 7, 20, 60):
            training = generator.integers(V, size=200)
            text = np.concatenate([generator.integers(V, size=length), training[100 : 100 + copied], [-1], [-2]])
            parts = np.split(training, [13, 13, 90])
            found = overlap(text, parts)
            longest, seen = brute_force(text.tolist(), training.tolist())
            assert found.longest == longest
            assert found.seen.tolist() == seen
            stretch = text[found.begin : found.begin + longest]
            assert longest == 0 or any((training[at : at + longest] == stretch).all() for at in range(200))


def test_complete_copy_is_found() -> None:
    training = np.arange(5000) % 997
    assert overlap(training[1200:4000], [training]).longest == 2800
    assert overlap(np.arange(3), []).longest == 0


def train(task: str, **flags: object) -> Trained:
    settings = {"hidden": "4", "embedding": 4, "epochs": 1}
    training = Training.start(task, resolve(TASKS[task], {**settings, **flags}), "test")
    training.train(lambda _: None, pytest.fail)
    return load(training.run.folder / "last.safetensors")


@pytest.fixture
def verse(tmp_path: Path) -> Path:
    file = tmp_path / "mine.txt"
    file.write_text("".join(f"the {word} of the {other}\n" for word in "abcdefg" for other in "stuvwxyz"))
    return file


@pytest.mark.parametrize("task", ["char-lm", pytest.param("wiki-lm", marks=pytest.mark.slow), "poetry-lm"])
def test_copy_is_found_in_the_training_text(task: str, home: Path, verse: Path) -> None:
    """A short text, a text whose last token is unknown, and the same text reversed."""
    trained = train(task, corpus=(str(verse),), **({} if task == "wiki-lm" else {"min_count": 1}))
    copied = "of the t\nthe a of the u\nthe " if task == "char-lm" else "the a of the t"
    tokens = list(copied) if task == "char-lm" else copied.split()
    numbers = Vocabulary(tuple(trained.payload["vocabulary"])).encode([*tokens, "q"])
    found = novelty(trained, [numbers[:1], numbers, numbers[-2::-1]])
    assert (found.longest, found.stretch) == (len(tokens), copied)
    assert found.seen == (0.5 if task == "char-lm" else None)
    verse.write_text(verse.read_text(encoding="utf-8").replace("a", "q"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"mine is no longer what .* was trained on: leave --novelty out"):
        novelty(trained, [numbers])


@pytest.mark.parametrize(
    ("task", "longest"), [("char-lm", 29), pytest.param("wiki-lm", 6, marks=pytest.mark.slow), ("poetry-lm", 6)]
)
def test_evaluation_text_is_searched_too(task: str, longest: int, home: Path, verse: Path, tmp_path: Path) -> None:
    """A training line, repeated, and a line whose words occur in no such order."""
    trained = train(task, corpus=(str(verse),), **({} if task == "wiki-lm" else {"min_count": 1}))
    access, corpus = TASKS[task].token_access, tmp_path / "corpus.txt"
    assert access is not None
    for text, expected in (("the a of the t\n", longest), ("t a t a\n", 3 if task == "char-lm" else 1)):
        corpus.write_text(text * 40)
        found = novelty(trained, access.measured_arrays(trained, TASKS[task].evaluate.Options(corpus=(str(corpus),))))
        assert found.longest == expected
