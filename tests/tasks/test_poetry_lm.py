"""poetry-lm: splitting text like the book, invalid input, and generated verse: its words, copies and line lengths."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rnncli.api import Training, load
from rnncli.data.corpora import load_corpus
from rnncli.data.holding_out import HoldOut
from rnncli.data.verse import line_key, read_verse
from rnncli.data.vocabulary import UNKNOWN, Vocabulary
from rnncli.errors import RnnError, UsageError
from rnncli.language.reading import TextOptions
from rnncli.presets import resolve
from rnncli.task import Trained
from rnncli.tasks import TASKS
from rnncli.tasks.poetry_lm import GenerateOptions, write

TASK = TASKS["poetry-lm"]
evaluate = TASK.evaluate.run

QUICK = {"hidden": "16", "embedding": 12, "epochs": 3, "corpus": ("hillside",)}


def train(home: Path, **flags) -> Trained:
    training = Training.start("poetry-lm", resolve(TASKS["poetry-lm"], QUICK | flags), "test")
    training.train(lambda _: None, pytest.fail)
    return load(home / "checkpoints/poetry-lm/test/best.safetensors")


def test_lines_are_split_like_in_the_book(tmp_path: Path) -> None:
    file = tmp_path / "verse.txt"
    file.write_text('Two roads -- "diverged",\n\n  in a YELLOW wood!\n...\nAnd sorry: I couldn\'t\n', encoding="utf-8")
    verse = read_verse([str(file)], HoldOut(every=3), "verse-words")
    assert [line.words for line in verse.training] == [["two", "roads", "diverged"], ["in", "a", "yellow", "wood"]]
    assert [line.words for line in verse.held_out] == [["and", "sorry", "i", "couldnt"]]


def test_only_a_line_feed_ends_a_line_of_verse(tmp_path: Path) -> None:
    (tmp_path / "verse.txt").write_text("one\rtwo\x0cthree\r\nfour\u2028five\x85six\n", newline="")
    verse = read_verse([str(tmp_path / "verse.txt")], HoldOut(), "verse-words")
    assert [line.words for line in verse.training] == [["one", "two", "three"], ["four", "five", "six"]]


def test_verse_without_blanks_is_refused_in_favour_of_char_lm(tmp_path: Path) -> None:
    file = tmp_path / "li bai.txt"
    file.write_text("床前明月光，\n疑是地上霜。\n", encoding="utf-8")
    with pytest.raises(RnnError, match=r"has no blanks between its words.*take a task that reads characters"):
        read_verse([str(file)], HoldOut(), "verse-words")
    file.write_text("床 前 明月 光 ，\n疑 是 地上 霜 。\n", encoding="utf-8")
    assert read_verse([str(file)], HoldOut(), "verse-words").training[0].words[:3] == ["床", "前", "明月"]


def test_frost_has_the_published_sizes(real_corpora: Path) -> None:
    verse = read_verse([str(real_corpora / "robert_frost.txt")], HoldOut(every=10), "verse-words")
    assert (len(verse.training), len(verse.held_out)) == (1293, 143)
    assert len(Vocabulary.of((line.words for line in verse.training), min_count=2)) - 3 == 818


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one line only\n", "fewer than two lines with words in them"),
        (b"...\n!!!\n-- *\n", "fewer than two lines with words in them"),
        (
            b"good\n" + b"word " * 200_000 + b"\nmore\n",
            "line 2 has 200,000 words, and verse is read line by line",
        ),
    ],
)
def test_unreadable_or_empty_verse_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.txt"
    file.write_bytes(content)
    for tokenizer in ("verse-words", "cased-words"):
        with pytest.raises(RnnError, match=message):
            read_verse([str(file)], HoldOut(every=10), tokenizer)


def test_corpora_are_concatenated_in_order() -> None:
    both = read_verse(["hillside", "nocturne"], HoldOut(), "verse-words")
    assert both.name == "hillside + nocturne"
    assert (
        both.training
        == read_verse(["hillside"], HoldOut(), "verse-words").training
        + read_verse(["nocturne"], HoldOut(), "verse-words").training
    )
    assert len(both.training) > 600


def test_generated_words_are_known_and_copies_are_reported(home: Path) -> None:
    trained = train(home, tokens="words")
    words = set(trained.payload["vocabulary"])
    written = write(trained, GenerateOptions(lines=300, seed=1))
    assert len(written.lines) == 300
    assert all(word in words for line in written.lines for word in line.split())
    assert all(line.split() for line in written.lines)
    assert not {"<start>", "<end>", "<unknown>"} & {word for line in written.lines for word in line.split()}
    assert written.facts == write(trained, GenerateOptions(lines=300, seed=1)).facts
    assert written.lines != write(trained, GenerateOptions(lines=300, seed=2)).lines


def test_verse_keeps_capitals_and_punctuation(home: Path) -> None:
    trained = train(home)
    written = write(trained, GenerateOptions(lines=200, seed=1))
    verse = "\n".join(written.lines)
    assert not re.search(r" [,.;:!?]|\u2060", verse)
    assert re.search(r"^[A-Z]", verse, re.MULTILINE)
    assert re.search(r"[a-z][,.]", verse)
    drawn = {trained.codec.vocabulary.tokens[number] for text in written.tokens for number in text}
    assert drawn <= {*trained.codec.vocabulary.words, "<end>"}


def test_bits_per_character_count_the_characters_as_written(home: Path) -> None:
    trained = train(home)
    lines = list(TASK.token_access.held_out_text(trained))
    assert set(lines) <= set(load_corpus("hillside").text.split("\n"))
    found, predictions = evaluate(trained, TextOptions()), sum(len(trained.codec.split(line)) + 1 for line in lines)
    nats = found["loss"] * predictions
    assert found["bits_per_char"] == pytest.approx(nats / np.log(2) / sum(len(line) + 1 for line in lines))


def test_keys_of_lines_recognize_copies(home: Path) -> None:
    trained = train(home)
    keys = set(trained.tensors["line_keys"].tolist())
    verse = TASK.token_access.data(trained, "").verse
    assert all(line_key(line.words) in keys for line in verse.training)
    assert not any(line_key(line.words) in keys for line in verse.held_out)


def test_prime_starts_the_first_line_and_unknown_words_are_listed(home: Path) -> None:
    written = write(train(home), GenerateOptions(lines=3, seed=1, prime="The wall, quixotic"))
    assert written.lines[0].startswith("The wall, quixotic")
    assert not written.lines[1].startswith("The wall, quixotic")
    assert written.unknown == ["quixotic"]


@pytest.mark.slow
def test_mean_line_length_matches_the_corpus(home: Path) -> None:
    """The book's lines were too short; with the defaults, the mean is within a tenth of the corpus's."""
    training = Training.start("poetry-lm", resolve(TASKS["poetry-lm"], {"corpus": ("hillside",)}), "test")
    training.train(lambda _: None, pytest.fail)
    trained = load(home / "checkpoints/poetry-lm/test/best.safetensors")
    written = write(trained, GenerateOptions(lines=1000, seed=0))
    mean = sum(len(trained.codec.split(line)) for line in written.lines) / 1000
    lines = TASK.token_access.data(trained, "").verse.training
    assert mean == pytest.approx(sum(len(line.words) for line in lines) / len(lines), rel=0.1)


def test_evaluation_on_held_out_lines_or_another_text(home: Path) -> None:
    trained = train(home)
    held_out = evaluate(trained, TextOptions())
    assert held_out["lines"] == 35
    best = min(record["loss"] for record in trained.header["progress"]["history"])
    assert held_out["loss"] == pytest.approx(best)
    other = evaluate(trained, TextOptions(corpus=("nocturne",)))
    assert other["perplexity"] > held_out["perplexity"] or other["unknown"] > 2 * held_out["unknown"]


def test_loss_is_the_mean_over_all_words_and_ends(home: Path) -> None:
    """Compared with a loop over single lines without padding."""
    trained = train(home)
    vocabulary = Vocabulary(tuple(trained.payload["vocabulary"]))
    loss, count = 0.0, 0
    for line in TASK.token_access.data(trained, "").verse.held_out:
        numbers = vocabulary.encode(line.words)
        logits, _ = trained.model(torch.tensor([0, *numbers])[:, None])
        log_probs = logits[:, 0].log_softmax(-1)
        loss -= sum(float(log_probs[place, token].detach()) for place, token in enumerate([*numbers, 1]))
        count += len(numbers) + 1
    assert evaluate(trained, TextOptions())["loss"] == pytest.approx(loss / count, rel=1e-5)


def test_evaluation_on_a_changed_text_is_refused(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(f"line number {number} of mine" for number in range(30)))
    trained = train(home, corpus=(str(file),))
    file.write_text("all of it\nis new\n")
    with pytest.raises(UsageError, match=r"is no longer what .* was trained on: give --corpus"):
        evaluate(trained, TextOptions())


def test_rare_words_are_unknown() -> None:
    vocabulary = Vocabulary.of([["a", "b", "a"], ["b", "c"]], min_count=2)
    assert vocabulary.tokens[3:] == ("a", "b")
    assert vocabulary.encode(["a", "c", "zebra"]) == [3, UNKNOWN, UNKNOWN]
    assert Vocabulary.of([["b", "a", "a", "c"]]).words == ("a", "b", "c")


def test_text_without_repeated_words_is_refused(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "rare.txt"
    file.write_text("one two\nthree four\nfive six\n")
    with pytest.raises(UsageError, match="no word occurs 2 times: take --min-count 1, or more text"):
        train(home, corpus=(str(file),))


def test_baselines_on_another_text_need_no_held_out_lines(home: Path) -> None:
    trained = train(home, hold_out=0, min_count=1)
    with pytest.raises(UsageError, match="nothing was held out"):
        evaluate(trained, TextOptions())
    rows = TASK.baselines(trained, TextOptions(corpus=("nocturne",)))
    assert rows["Kneser-Ney trigram, discount 0.1 (nltk's default)"]["perplexity"] == float("inf")
    assert 0 < rows["unigram"]["perplexity"] < float("inf")  # although UNKNOWN does not occur in the training lines


def test_standard_input_is_not_read_again(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "piped"
    file.write_text("\n".join(f"line {number % 7} of {number % 5} lines" for number in range(50)))
    with file.open() as piped:
        monkeypatch.setattr("sys.stdin", piped)
        trained = train(home, corpus=("-",))
    with pytest.raises(UsageError, match="learned from standard input, which cannot be read again: give --corpus"):
        evaluate(trained, TextOptions())


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("text", encoding="utf-8")
    resolved = TASK.resolve_defaults(
        resolve(TASKS["poetry-lm"], {"corpus": ("mine.txt", "me=mine.txt", "hillside", "-")})
    )
    assert resolved.corpus == (str(tmp_path / "mine.txt"), f"me={tmp_path / 'mine.txt'}", "hillside", "-")


@pytest.mark.parametrize(
    "options", [{"temperature": 1e-320}, {"temperature": 1e-42}, {"temperature": 1e300}, {"top_p": 1e-300}]
)
def test_extreme_settings_do_not_break_sampling(options: dict, home: Path) -> None:
    assert len(write(train(home), GenerateOptions(**options)).lines) == 4


def test_unprintable_prime_is_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="cannot be printed: give another text"):
        write(train(home), GenerateOptions(prime="\udcff"))


def test_spaced_verse_with_a_validation_text(home: Path, tmp_path: Path) -> None:
    lines, valid = tmp_path / "lines.txt", tmp_path / "valid.txt"
    lines.write_text("The woods , lovely <unk> -- & deep .\nI don't @-@ keep\n" * 20)
    valid.write_text("The deep , <unk> .\n\nI sleep\n")
    trained = train(home, corpus=(str(lines),), tokens="spaced", valid=(str(valid),), min_count=1)
    words = set(lines.read_text().split()) - {"<unk>"}
    assert set(trained.payload["vocabulary"][3:]) == words
    metrics = evaluate(trained, TextOptions())
    assert metrics == evaluate(trained, TextOptions(corpus=(str(valid),)))
    assert (metrics["lines"], metrics["unknown"]) == (2, pytest.approx(2 / 7))
    assert metrics["bits_per_char"] == pytest.approx(metrics["loss"] / np.log(2) * 9 / (len(valid.read_text()) - 1))
    assert trained.header["progress"]["history"][-1]["loss"] == pytest.approx(metrics["loss"])
    written = write(trained, GenerateOptions(prime="The <unk>", lines=30, temperature=9.0, seed=1))
    first, *others = written.texts[0].split("\n")
    assert first.startswith("The <unk> ")
    assert {word for line in (first[len("The <unk>") :], *others) for word in line.split()} <= words
    assert list(TASK.token_access.held_out_text(trained)) == ["The deep , <unk> .", "I sleep"]
    valid.write_text("I deep\n")
    with pytest.raises(UsageError, match=r"lines is no longer what .* was trained on"):
        evaluate(trained, TextOptions())


def test_validation_lines_are_read_in_their_voice_or_without_one(home: Path, tmp_path: Path) -> None:
    (tmp_path / "valid.txt").write_text("the gate stood open\n")
    both = {"corpus": ("hillside", "nocturne"), "epochs": 1}
    own = train(home, **both, valid=(f"nocturne={tmp_path}/valid.txt",))
    assert own.payload["labels"] == ["hillside", "nocturne"]
    shutil.rmtree(home / "checkpoints")
    nobody = train(home, **both, valid=(f"{tmp_path}/valid.txt",))
    assert nobody.payload["labels"] == own.payload["labels"]
    losses = [each.header["progress"]["history"][-1]["loss"] for each in (own, nobody)]
    assert losses[0] != losses[1]
    shutil.rmtree(home / "checkpoints")
    with pytest.raises(UsageError, match="--valid names the text to validate on: leave --hold-out-every out"):
        train(home, **both, valid=("hillside",), hold_out_every=3)
