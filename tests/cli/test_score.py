"""`rnn score` as a new user runs it."""

import io
import json
import sys
from pathlib import Path

import pytest
from support.terminals import on_a_terminal

from rnncli.cli.score import _show
from rnncli.data.text import visible
from rnncli.language.score import Scored, Surprise

QUICK = "--hidden 16 --embedding 12 --epochs 2 --corpus hillside --tokens words"


@pytest.fixture
def poet(rnn, trained):
    """The command line, with a quickly trained model of poems."""
    assert trained(f"train poetry-lm {QUICK} --name poet").code == 0
    return rnn


def feed_stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))


def test_texts_are_shown_best_first_with_the_bits_of_each_token(poet) -> None:
    ran = poet("score 'xylophone quickly gate' 'the quixotic'")
    header, *lines, legend = ran.out.splitlines()
    assert ran.code == 0
    assert header.split() == ["rank", "nats", "bits", "perplexity", "text"]
    assert [line.split()[0] for line in lines[::2]] == ["1", "2"]
    assert float(lines[0].split()[3]) < float(lines[2].split()[3])
    at = next(place for place, line in enumerate(lines) if "the quixotic" in line)
    assert lines[at].endswith("unknown: quixotic")
    tokens = dict(pair.split(":") for pair in lines[at + 1].split())
    assert list(tokens) == ["the", "quixotic?", "<end>"]
    assert sum(map(float, tokens.values())) == pytest.approx(float(lines[at].split()[2]), abs=0.2)
    assert "?: unknown to the model" in legend
    assert "poet/best.safetensors (hillside)" in ran.err


def test_a_file_is_ranked_line_by_line(poet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "gate gate gate\n\n---\nthe snow\nand the gate was open\n"
    (tmp_path / "mine.txt").write_text(text)
    ran = poet(f"score --file {tmp_path}/mine.txt")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["rank", "1", "2", "3"]
    assert "2 of 5 lines have no word that this model knows" in ran.err
    for words in ("score -", "score --file -"):
        feed_stdin(monkeypatch, text)
        assert poet(words).out == ran.out
    printed = json.loads(poet(f"score --file {tmp_path}/mine.txt --by probability --json").out)
    assert [each["text"] for each in printed["texts"]] == text.splitlines()
    assert [each["rank"] is None for each in printed["texts"]] == [False, True, True, False, False]
    assert printed["texts"][1] | {"text": "---"} == printed["texts"][2]
    assert (printed["texts"][1]["perplexity"], printed["texts"][1]["tokens"]) == (None, [])
    ranked = sorted((each for each in printed["texts"] if each["rank"]), key=lambda each: each["rank"])
    assert [each["log_probability"] for each in ranked] == sorted(
        (each["log_probability"] for each in ranked), reverse=True
    )
    assert set(printed["texts"][0]) == {
        "text",
        "rank",
        "log_probability",
        "bits",
        "perplexity",
        "unknown",
        "tokens",
    }
    assert set(printed["texts"][0]["tokens"][0]) == {"token", "bits", "unknown"}
    assert printed["by"] == "probability"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("", "give one text or more, each in quotation marks, or --file FILE"),
        ("one --file two", "give one text or more, each in quotation marks, or --file FILE"),
        ("'  '", "text 1 is empty: there is no word in it"),
        ("one --by luck", "--by must be one of perplexity, probability, not 'luck'"),
        ("--file nowhere.txt", "nowhere.txt does not exist"),
        ("one", "there is no model for `rnn score` in "),
        ("-", "standard input is empty"),
    ],
)
def test_invalid_requests_are_one_line(rnn, monkeypatch: pytest.MonkeyPatch, words: str, complaint: str) -> None:
    feed_stdin(monkeypatch, "")
    ran = rnn(f"score {words}")
    assert (ran.code in (1, 2), ran.out) == (True, "")
    assert ran.err.startswith("rnn: error: ")
    assert complaint in ran.err


def test_a_model_without_scores_lists_its_verbs(rnn, trained) -> None:
    assert trained("train parity --seed 1 --name mine").code == 0
    ran = rnn("score 'a line' --from mine")
    assert ran.code == 2
    assert "is a model of parity, which has no score: it has evaluate" in ran.err


def test_tokens_on_a_terminal_are_coloured_by_their_bits() -> None:
    tokens = [Surprise("the", 1.0), Surprise("gate", 6.0), Surprise("flew", 20.0), Surprise("zyx", 3.0, unknown=True)]
    with on_a_terminal() as screen:
        _show([Scored("the gate flew zyx", tokens, -20.0, 1)], each_token=True)
        _show([Scored("a b", [Surprise(letter, 3.0) for letter in "a b"], -2.0, 1)], each_token=True)
    _, shown, legend, _, letters, _ = screen.text.splitlines()
    assert "\x1b[32mthe\x1b[0m" in shown
    assert "\x1b[33mgate\x1b[0m" in shown
    assert "\x1b[1;37;41mflew\x1b[0m" in shown
    assert "\x1b[4mzyx\x1b[0m" in shown
    assert "\x1b[33m5-8\x1b[0m" in legend
    assert letters.endswith("  a b")


def test_control_characters_are_shown_as_visible_signs() -> None:
    assert visible("a\nb\t\x1b[31m") == "a↵b→\\x1b[31m"
    assert visible("  ") == "␣␣"
    assert visible("👩‍👧 é") == "👩‍👧 é"
