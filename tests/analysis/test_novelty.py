"""What a text shares with another, against brute force; and the text a model learned from, read again."""

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


def brute_force(text: list[int], learned: list[int]) -> tuple[int, list[bool]]:
    """The longest stretch of a text that is in another, and which of its 8-grams are."""

    def spelled(tokens: list[int]) -> str:
        return "".join(map(chr, np.array(tokens) + 100))

    other, N = spelled(learned), len(text)
    longest = max(
        (end - begin for begin in range(N) for end in range(begin, N + 1) if spelled(text[begin:end]) in other),
        default=0,
    )
    return longest, [spelled(text[begin : begin + 8]) in other for begin in range(N - 7)]


@pytest.mark.parametrize("chunk", [10, 64, 1 << 20])
@pytest.mark.parametrize("V", [2, 3, 30])
def test_equals_brute_force(chunk: int, V: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    generator = np.random.default_rng(V)
    for length in (1, 2, 5, 8, 9, 23, 40):
        for copied in (0, 7, 20, 60):
            learned = generator.integers(V, size=200)
            text = np.concatenate([generator.integers(V, size=length), learned[100 : 100 + copied], [-1], [-2]])
            parts = np.split(learned, [13, 13, 90])
            found = overlap(text, parts)
            longest, seen = brute_force(text.tolist(), learned.tolist())
            assert found.longest == longest
            assert found.seen.tolist() == seen
            stretch = text[found.begin : found.begin + longest]
            assert longest == 0 or any((learned[at : at + longest] == stretch).all() for at in range(200))


def test_what_is_copied_whole_is_found_whole() -> None:
    learned = np.arange(5000) % 997
    assert overlap(learned[1200:4000], [learned]).longest == 2800
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


@pytest.mark.parametrize("task", ["char-lm", "wiki-lm", "poetry-lm"])
def test_a_copy_is_found_in_what_a_model_learned_from(task: str, home: Path, verse: Path) -> None:
    """A short text, one of whose last token the model knows nothing, and the same backwards."""
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


@pytest.mark.parametrize(("task", "longest"), [("char-lm", 29), ("wiki-lm", 6), ("poetry-lm", 6)])
def test_what_is_evaluated_is_looked_up_too(task: str, longest: int, home: Path, verse: Path, tmp_path: Path) -> None:
    """A line that was learned from, again and again, and one whose words come in no such order."""
    trained = train(task, corpus=(str(verse),), **({} if task == "wiki-lm" else {"min_count": 1}))
    access, asked = TASKS[task].token_access, tmp_path / "asked.txt"
    assert access is not None
    for text, expected in (("the a of the t\n", longest), ("t a t a\n", 3 if task == "char-lm" else 1)):
        asked.write_text(text * 40)
        found = novelty(trained, access.measured_arrays(trained, TASKS[task].evaluate.Options(corpus=(str(asked),))))
        assert found.longest == expected
