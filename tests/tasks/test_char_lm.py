"""char-lm: splitting and joining text, the held-out end, and continuing a prime."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rnncli.analysis.activations import features_of
from rnncli.api import Training, load
from rnncli.data import token_text
from rnncli.data.bpe import learn_bpe
from rnncli.data.codec import Codec, Known
from rnncli.data.tokenizers import KINDS
from rnncli.data.units import Units
from rnncli.data.vocabulary import SPECIALS, Vocabulary
from rnncli.errors import RnnError, UsageError
from rnncli.language.activations import LanguageActivationOptions
from rnncli.language.generate import Draft
from rnncli.language.generate import write_stream as write
from rnncli.presets import resolve
from rnncli.task import Trained
from rnncli.tasks import TASKS
from rnncli.tasks.char_lm import EvaluateOptions, GenerateOptions, read

TASK = TASKS["char-lm"]
evaluate = TASK.evaluate.run
TEXT = "the cat sat – früh am Tag.\n" * 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_text(TEXT)
    return path


def train(file: Path, **flags: Any) -> Trained:
    settings = {"hidden": "8", "embedding": 4, "epochs": 1, "bptt": 9, "batch_size": 4, "corpus": (str(file),)}
    training = Training.start(TASK.name, resolve(TASK, {**settings, **flags}))
    training.train(lambda _: None, pytest.fail)
    return load(training.run.folder / "last.safetensors")


def units_for(tokens: str) -> Units:
    return Codec(tokens, Vocabulary(SPECIALS), learn_bpe([TEXT], 280) if tokens == "bpe" else "").units


@pytest.mark.parametrize("tokens", KINDS)
def test_joining_restores_the_text(tokens: str) -> None:
    units = units_for(tokens)
    assert "".join(units.join(units.split(TEXT))) == TEXT
    assert "".join(units.join(units.split("é")[:1])) in ("é", "\ufffd")  # half a character is no error
    assert (" " if units.spaced else "").join(map(units.shown, units.split("the cat"))) == "the cat"
    assert "".join(map(units.shown, units.split("é"))) in ("é", "\\xc3\\xa9")


def test_loss_on_the_held_out_end_equals_a_single_pass(home: Path, file: Path) -> None:
    trained = train(file, hold_out=0.25)
    held_out = list(TEXT[-len(TEXT) // 4 :])
    metrics = evaluate(trained, EvaluateOptions())
    numbers = torch.tensor([trained.payload["vocabulary"].index(unit) for unit in held_out])
    with torch.inference_mode():
        logits, _ = trained.model(numbers[:-1, None])
    whole = torch.nn.functional.cross_entropy(logits[:, 0], numbers[1:])
    assert metrics["loss"] == pytest.approx(float(whole), abs=1e-4)
    assert metrics["bits_per_char"] == pytest.approx(metrics["loss"] / 0.693147, rel=1e-5)
    assert (metrics["unknown"], metrics["tokens"]) == (0, len(held_out))


@pytest.mark.parametrize("tokens", KINDS)
def test_held_out_text_is_the_same_for_all_kinds_of_tokens(home: Path, file: Path, tokens: str) -> None:
    trained = train(file, tokens=tokens, hold_out=0.25, vocab_size=300 if tokens == "bpe" else 0)
    (held_out,) = TASK.token_access.measured_arrays(trained, EvaluateOptions())
    end = TEXT[-len(TEXT) // 4 :]
    assert "".join(trained.codec.join(held_out)) == end
    metrics = evaluate(trained, EvaluateOptions())
    assert metrics["tokens"] == len(held_out)
    assert metrics["bits_per_char"] == pytest.approx(metrics["loss"] / 0.693147 * len(held_out) / len(end), rel=1e-5)
    assert load(trained.source).payload == trained.payload


@pytest.mark.parametrize("tokens", KINDS)
def test_generation_continues_the_prime(home: Path, file: Path, tokens: str) -> None:
    trained = train(file, tokens=tokens, epochs=5, lr=0.05)

    def written(**options: Any) -> str:
        return "".join(write(trained, GenerateOptions(**{"length": 40, "seed": 3, **options})).pieces)

    assert written() == written()
    assert written(prime="the cat").removeprefix("the cat") != written(prime="am Tag").removeprefix("am Tag")
    assert written(prime="the cat").startswith("the cat")
    assert written(prime="am", length=1)[2] in " \n." or tokens not in ("word", "spaced")  # a blank between words
    assert "<unknown>" not in written(length=300, temperature=5.0)
    prime = file.with_name("prime.txt")
    prime.write_text("the c")
    assert written(prime=f"@{prime}") == written(prime="the c")
    likeliest = write(trained, GenerateOptions(prime="Q the", length=1, temperature=0.0))
    assert ("Q" in "".join(likeliest.unknown)) == (tokens != "bpe")  # bpe knows all bytes
    assert likeliest.facts["texts"][0]["tokens"] == 1
    assert "\n" + written(prime="") == written(prime="\n")


def test_bpe_needs_more_tokens_than_bytes_and_no_min_count(home: Path, file: Path) -> None:
    with pytest.raises(UsageError, match="--vocab-size 256: bpe starts from 256 bytes"):
        train(file, tokens="bpe", vocab_size=256)
    with pytest.raises(UsageError, match="leave --min-count out"):
        train(file, tokens="bpe", min_count=2)
    assert "the" in "".join(train(file, tokens="bpe", vocab_size=280).payload["vocabulary"])


def test_the_most_frequent_tokens_are_kept(home: Path, file: Path) -> None:
    assert train(file, vocab_size=3).payload["vocabulary"][3:] == [" ", "a", "t"]
    with pytest.raises(UsageError, match="mine: no token occurs 41 times: take a smaller --min-count"):
        train(file, tokens="word", min_count=41)


def test_too_short_text_is_refused(home: Path, file: Path) -> None:
    file.write_text("short", encoding="utf-8")
    with pytest.raises(RnnError, match="mine has 5 tokens: 200 are the least to learn from"):
        train(file)


def test_large_text_is_numbered_only_once(home: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_text, "LARGE", 100)
    trained = train(file)
    (folder,) = (home / "data" / "running").iterdir()
    access = TASK.token_access
    assert access is not None
    with monkeypatch.context() as patched:
        patched.setattr(token_text, "_write", pytest.fail)
        patched.setattr(token_text, "_count", pytest.fail)
        (ids,) = access.training_arrays(trained, "")
        settings = resolve(TASK, {"corpus": (str(file),)})
        assert read(TASK.resolve_defaults(settings), Known(grows=True)).folder == folder  # as a new run reads it
    assert "".join(trained.codec.join(ids.tolist())) == TEXT[: len(ids)]


def test_evaluation_without_held_out_text_needs_a_corpus(home: Path, file: Path) -> None:
    trained = train(file, hold_out=0.0)
    with pytest.raises(UsageError, match="nothing was held out when"):
        evaluate(trained, EvaluateOptions())
    assert evaluate(trained, EvaluateOptions(corpus=(str(file),)))["tokens"] == len(TEXT)


def test_text_too_short_for_training_can_be_evaluated(home: Path, file: Path) -> None:
    trained, short = train(file), file.with_name("short.txt")
    short.write_text("the cat")
    assert evaluate(trained, EvaluateOptions(corpus=(str(short),)))["tokens"] == 7
    short.write_text("t")
    with pytest.raises(RnnError, match="short has 1 token: 2 are the least to measure on"):
        evaluate(trained, EvaluateOptions(corpus=(str(short),)))


@pytest.mark.parametrize("tokens", ["bytes", "bpe"])
def test_features_of_tokens_come_from_the_text_not_its_bytes(home: Path, file: Path, tokens: str) -> None:
    """The escape of a byte is not a digit, and a character cut at the end is one part of the text."""
    vocab_size = {"vocab_size": 262} if tokens == "bpe" else {}
    trained = train(file, tokens=tokens, **vocab_size)
    text = "ééé 7 früh.\n" * 3
    recording = TASK.uses["activations"].run(trained, LanguageActivationOptions(text=text))
    digits = features_of(recording)["digit"]
    assert any("\\x" in piece for piece in recording.pieces)
    assert (recording.text, len(recording.parts), sum(digits)) == (text, len(recording.pieces), 3)
    assert "length of the token" not in features_of(recording) or tokens == "bpe"
    cut = TASK.uses["activations"].run(trained, LanguageActivationOptions(text="é" * 9, max_tokens=3))
    assert cut.text == ("é\ufffd" if tokens == "bytes" else cut.text)


SPLIT = "the cat ( sat ) <unk> @-@ mat .\n"


def test_spaced_words_are_kept_unchanged(home: Path, file: Path) -> None:
    file.write_text(SPLIT * 40, encoding="utf-8")
    valid = file.with_name("valid.txt")
    valid.write_text(" the mat <unk> \n\nthe dog  .\n" * 30)
    trained = train(file, tokens="spaced", valid=(str(valid),))
    words = [*SPLIT.replace("<unk>", "").split(), "\n"]
    assert set(trained.payload["vocabulary"][3:]) == set(words)
    metrics = evaluate(trained, EvaluateOptions())
    bare = evaluate(trained, EvaluateOptions(corpus=(str(valid),)))
    assert metrics == bare
    assert (metrics["tokens"], metrics["unknown"]) == (270, pytest.approx(2 / 9))
    assert metrics["bits_per_char"] == pytest.approx(
        metrics["loss"] / 0.693147 * 270 / len(valid.read_text()), rel=1e-5
    )
    assert trained.header["progress"]["history"][-1]["loss"] == pytest.approx(metrics["loss"])
    written = write(trained, GenerateOptions(prime="the <unk>", length=300, temperature=9.0, seed=1)).texts[0]
    assert written == "\n".join(" ".join(line.split(" ")) for line in written.split("\n"))
    assert written.startswith(("the <unk> ", "the <unk>\n"))
    written = written.removeprefix("the <unk>")
    assert set(written.replace("\n", " ").split(" ")) - {""} <= set(words)
    recording = TASK.uses["activations"].run(trained, LanguageActivationOptions(text="the <unk>\ncat , sat"))
    assert "".join(recording.pieces) == recording.text == "the <unk>\ncat , sat"
    valid.write_text("the cat .\n" * 9)
    with pytest.raises(UsageError, match=r"mine is no longer what .* was trained on"):
        evaluate(trained, EvaluateOptions())


def test_validation_text_is_read_in_its_voice_and_nothing_else_is_held_out(home: Path, file: Path) -> None:
    valid, other = file.with_name("valid.txt"), file.with_name("other.txt")
    valid.write_text("the cat sat am Tag.\n" * 9)
    other.write_text("früh am Tag sat the cat –\n" * 40)
    settings = resolve(TASK, {"corpus": (str(file), str(other)), "valid": (f"other={valid}",)})
    corpus = read(TASK.resolve_defaults(settings), Known())
    assert (corpus.cut, len(corpus.held_out)) == (len(TEXT) + len(other.read_text()), len(valid.read_text()))
    assert corpus.codec.labels == ("mine", "other")
    assert {name: sizes[0] for name, sizes in corpus.voices.items()} == {
        "mine": len(TEXT),
        "other": len(other.read_text()),
    }
    assert corpus.validation.voices == [(1, len(valid.read_text()))]
    with pytest.raises(UsageError, match="--valid names the text to validate on: leave --hold-out out"):
        train(file, valid=(str(valid),), hold_out=0.3)
    valid.write_text("t")
    with pytest.raises(RnnError, match="valid has fewer than two tokens: give a longer text to --valid"):
        train(file, valid=(str(valid),))


@pytest.mark.parametrize("tokens", ["bytes", "bpe"])
def test_text_ends_before_an_incomplete_character(tokens: str) -> None:
    bpe = learn_bpe([TEXT], 258) if tokens == "bpe" else ""
    units = Codec(tokens, Vocabulary(SPECIALS), bpe).units
    codec = Codec(tokens, Vocabulary(SPECIALS), bpe).grown(units.split("да é"))
    ids = codec.vocabulary.encode(units.split("да"))
    assert len(ids) == 4
    for length, text, kept in ((4, "да", 4), (3, "д", 2), (2, "д", 2), (1, "", 0)):
        draft = Draft()
        assert "".join(draft.written(ids[:length], codec.join, None)) == text
        assert draft.tokens == ids[:kept]
    draft, broken = Draft(), codec.vocabulary.encode(units.split("д")[:1] * 2 + units.split("а"))
    assert "".join(draft.written(broken, codec.join, None)) == "\ufffd\ufffdа"  # bytes that are no character
