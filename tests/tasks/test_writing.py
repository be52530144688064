"""Generation with every language task: primes, several texts, stopping, beam search, and conflicting options."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from support.tape import TapeRecorder

from rnncli.api import Training, load
from rnncli.data.tokenizers import join_words
from rnncli.errors import RnnError, UsageError
from rnncli.language.generate import DrawnToken, Written, before_stop, check_printable
from rnncli.models import decoding, recorded
from rnncli.presets import resolve
from rnncli.task import Trained
from rnncli.tasks import TASKS

WRITERS = [name for name, task in TASKS.items() if "generate" in task.uses]
TEXT = "".join(f"the {a} of the {b} sat there\n" for a in ("cat", "dog", "owl", "cow") for b in ("hill", "sea", "mat"))


@pytest.fixture(scope="module", params=WRITERS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A model of each task with `generate`."""
    home = tmp_path_factory.mktemp(request.param)
    file = home / "mine.txt"
    file.write_text(TEXT * 3)
    settings: dict[str, Any] = {"hidden": "12", "embedding": 8, "epochs": 3, "lr": 0.02, "corpus": (str(file),)}
    task = request.param
    settings |= {"epochs": 20, "bptt": 20, "batch_size": 4} if task == "char-lm" else {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RNN_HOME", str(home))
        training = Training.start(task, resolve(TASKS[task], settings), "test")
        training.train(lambda _: None, pytest.fail)
        yield load(training.run.folder / "last.safetensors")


def write(trained: Trained, **options: Any) -> Written:
    action = TASKS[trained.task].uses["generate"]
    written: Written = action.run(trained, action.Options(**{"seed": 3, "length": 12, **options}))
    return written


def test_same_seed_gives_the_same_texts(trained: Trained) -> None:
    assert write(trained).texts == write(trained).texts
    several = write(trained, count=5)
    assert several.texts == write(trained, count=5).texts
    assert len(set(several.texts)) == 5
    assert several.seed == 3
    shown = "".join(several.pieces)
    assert [line for line in shown.splitlines() if line.startswith("--- ")] == [f"--- {n}" for n in range(1, 6)]
    assert all(text in shown for text in several.texts)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_k": 5, "no_repeat": 3}, {"beam": 3, "seed": None}])
def test_graphs_write_the_same_text(trained: Trained, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, tape = write(trained, length=20, **options), TapeRecorder()
    monkeypatch.setattr(recorded, "recorder_on", lambda *_: tape)
    assert write(trained, length=20, **options).texts == wanted.texts
    assert tape.replays


def test_prime_of_thousands_of_tokens_is_read_completely(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    prime = " ".join(f"the {['cat', 'dog', 'owl'][number % 3]}" for number in range(900))
    file = trained.source.parent / "prime.txt"
    file.write_text(prime)
    scanned = write(trained, prime=f"@{file}", temperature=0.0)
    monkeypatch.setattr(decoding, "WINDOW", 10**6)
    assert write(trained, prime=prime, temperature=0.0).texts == scanned.texts
    assert write(trained, prime=f"{prime} of", temperature=0.0).texts != scanned.texts


def test_unknown_tokens_of_a_prime_are_listed(trained: Trained) -> None:
    written = write(trained, prime="the 🦉 Ξ cat")
    assert written.texts[0]
    assert "ξ" in "".join(written.unknown).lower()
    assert write(trained, prime="🦉🦉🦉").texts[0]
    assert write(trained, prime="").texts == write(trained).texts


@pytest.mark.parametrize(
    ("prime", "message"),
    [
        ("@", "--prime @ names no file"),
        ("@nowhere.txt", "nowhere.txt does not exist"),
        ("@.", "is a folder, not a file"),
        ("\udcff", "cannot be printed: give another text"),
    ],
)
def test_invalid_prime_is_one_line(trained: Trained, prime: str, message: str) -> None:
    with pytest.raises(RnnError, match=message):
        write(trained, prime=prime)
    (trained.source.parent / "binary").write_bytes(bytes(range(256)))
    with pytest.raises(RnnError, match="binary"):
        write(trained, prime=f"@{trained.source.parent / 'binary'}")


def test_doubled_at_sign_is_a_literal_one(trained: Trained) -> None:
    assert "@" not in "".join(write(trained, prime="@@the").unknown).removeprefix("@")


def test_text_ends_before_the_stop_text(trained: Trained) -> None:
    whole = write(trained, length=60, temperature=0.3)
    stop = " of"
    assert stop in whole.texts[0]
    stopped = write(trained, length=60, temperature=0.3, stop=stop)
    assert stopped.texts[0] == whole.texts[0].partition(stop)[0]
    assert "".join(stopped.pieces).rstrip("\n") == stopped.texts[0].rstrip("\n")
    for text in write(trained, length=60, temperature=0.3, stop=stop, count=6).texts:
        assert stop not in text
    assert write(trained, length=60, temperature=0.3, stop="never there").texts == whole.texts


def test_listener_receives_every_token_of_every_text(trained: Trained) -> None:
    """Verse comes line by line: the first lines of all poems, then the second lines, and so on."""
    received: list[DrawnToken] = []
    verse = {"lines": 3} if trained.task == "poetry-lm" else {}
    written = write(trained, count=2, prime="the", listen=received.append, **verse)
    assert written.texts == write(trained, count=2, prime="the", **verse).texts
    texts = ["the"] * 2
    for token in received:
        texts[token.line] += token.text
        assert 0 < token.probability <= token.likeliest[0][1]
    assert texts == written.texts
    assert not verse or [text.count("\n") for text in texts] == [2, 2]


def test_only_displayed_tokens_are_counted(trained: Trained) -> None:
    """A token is a character in char-lm, and a word or the end of a line in other tasks."""

    def tokens_of(text: str) -> int:
        return len(text) if trained.task == "char-lm" else len(re.findall(r"\w+|\n", text))

    options: dict[str, Any] = {"length": 60, "temperature": 0.3}
    for more in ({}, {"count": 6}):
        for stop in (" of", "f the", "never there"):
            for draft in write(trained, **options, **more, stop=stop).drafts:
                text = draft.text
                assert draft.facts["tokens"] == len(draft.tokens)
                half = stop == "f the" and trained.task != "char-lm" and re.search(r"\bo$", text)
                assert len(draft.tokens) == tokens_of(text) - bool(half)  # a cut word does not count
    (found,) = write(trained, seed=None, beam=3, length=20, stop=" of").drafts
    assert len(found.tokens) == tokens_of(found.text)


def test_beam_search_does_not_start_with_the_end_token(trained: Trained) -> None:
    texts = write(trained, seed=None, beam=200, nbest=200, length=2).texts
    assert len(texts) > 5
    assert all(text.strip() or trained.task == "char-lm" for text in texts)


def test_beam_search_is_sorted_and_deterministic(trained: Trained) -> None:
    found = write(trained, seed=None, beam=6, nbest=4, prime="the ")
    again = write(trained, seed=None, beam=6, nbest=4, prime="the ")
    assert found.facts == again.facts
    scores = [draft.score for draft in found.drafts]
    assert scores == sorted(scores, reverse=True)
    assert 1 <= len(scores) <= 4
    assert found.seed is None
    assert all(draft.log_probability < 0 for draft in found.drafts)
    greedy = write(trained, seed=None, beam=1, prime="the ")
    drawn = write(trained, temperature=0.0, prime="the ", **({"lines": 1} if trained.task == "poetry-lm" else {}))
    assert drawn.texts[0].startswith(greedy.texts[0])


def repeated(tokens: list[int], n: int) -> int:
    """The number of repeated n-grams."""
    grams = [tuple(tokens[place : place + n]) for place in range(len(tokens) - n + 1)]
    return len(grams) - len(set(grams))


def test_no_repeat_prevents_repeated_n_grams(trained: Trained) -> None:
    options = {"temperature": 0.0, "length": 60}
    repeats, guarded = (write(trained, **options, no_repeat=n).tokens[0] for n in (0, 5))
    if trained.task == "char-lm":  # verse is checked line by line, and sentences as one text
        assert repeated(repeats, 5) > repeated(guarded, 5) == 0
    assert write(trained, **options, repetition_penalty=5.0).texts != write(trained, **options).texts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nbest": 3}, "--nbest 3 needs a search at least as wide: add --beam 3"),
        ({"nbest": 3, "beam": 2, "seed": None}, "--nbest 3 needs a search at least as wide: add --beam 3"),
        ({"beam": 2, "seed": None, "top_p": 0.5}, "searches and draws nothing: leave --top-p out"),
        ({"beam": 2}, "leave --seed out"),
        ({"beam": 2, "seed": None, "count": 2}, "leave --count out"),
        ({"stop": ""}, "--stop must not be empty"),
    ],
)
def test_conflicting_options_are_refused(trained: Trained, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write(trained, **options)


def test_possible_start_of_the_stop_text_is_held_back() -> None:
    pieces = ["a", "b", "ab", "c", "d"]
    assert "".join(before_stop(pieces, "abc")) == "ab"
    assert "".join(before_stop(pieces, "abcd")) == "ab"
    assert "".join(before_stop(pieces, "abx")) == "abababcd".removeprefix("ab")
    assert list(before_stop(pieces, None)) == pieces
    taken: list[str] = []

    def live() -> Any:
        for piece in pieces:
            taken.append(piece)
            yield piece

    assert next(before_stop(live(), "zz")) == "a"
    assert taken == ["a", "b"]


def test_words_are_joined_with_usual_punctuation() -> None:
    for text in ("he didn't see (old) john's dog,\n$5 was much!", "one", "so:"):
        words = re.findall(r"n't|'s|\w+?(?=n't|\b)|\n|[^\w\s]", text)
        assert "".join(join_words("<end>" if word == "\n" else word for word in words)) == text
    assert "".join(join_words(["did", "n't", "(", "<unknown>", "<end>", ")"], spaced=True)) == "did n't ( <unk>\n)"


def test_words_with_joiners_and_special_blanks_can_be_printed() -> None:
    words = ["می\u200cخواهم", "10\u00a0km"]
    check_printable(words)
    with pytest.raises(UsageError, match="cannot be printed: give another text"):
        check_printable(["a\x1b"])
