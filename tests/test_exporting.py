"""Files for programs without rnn: weights by name, torch's layers by the program of the docs, n-grams by a reader."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.arpa import nats, read_arpa

import rnncli
from rnncli.api import Model
from rnncli.data.vocabulary import END, START, UNKNOWN
from rnncli.errors import UsageError
from rnncli.language.arpa import written_token
from rnncli.tasks import TASKS
from rnncli.training import checkpoint

pytestmark = pytest.mark.usefixtures("plain_loops")

CHECKPOINTS = Path(__file__).parent / "checkpoints"
PAGE = Path(__file__).parents[1] / "docs" / "export.md"


def model_of(name: str) -> Model:
    return rnncli.load(CHECKPOINTS / name / "best.safetensors")


def program(tokens: list[int]) -> str:
    """The program of the docs that loads a language model into torch, for these tokens."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (block,) = (each for each in blocks if "import nn" in each)
    replaced, count = re.subn(r"^tokens = .*$", f"tokens = torch.tensor({tokens})", block, flags=re.MULTILINE)
    assert count == 1
    return replaced


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("chars-voices", "nocturne"),  # LSTM of two sizes
        ("verse-voices", None),  # GRU, tied, with a projection, voices
        ("prose-vectors", None),  # word vectors of length 1
        ("prose-running", None),  # LSTM, sampled softmax
    ],
)
def test_the_program_of_the_docs_gives_the_logits_of_the_model(
    name: str, label: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of(name)
    (exported,) = model.export(torch=tmp_path / "torch.safetensors", label=label)
    assert exported.difference is not None
    assert exported.difference < 1e-5
    monkeypatch.chdir(tmp_path)
    tokens, known = [3, 9, 4, UNKNOWN, 3], dict[str, Any]()
    exec(program(tokens), known)
    voice = None if label is None else torch.full((5, 1), model.codec.labels.index(label))
    with torch.no_grad():
        wanted, _ = model.model(torch.tensor(tokens)[:, None], labels=voice)
    torch.testing.assert_close(known["logits"], wanted[:, 0], rtol=1e-5, atol=1e-5)
    likeliest = wanted[-1, 0].topk(3).indices.tolist()
    assert capsys.readouterr().out == f"{[model.codec.vocabulary.tokens[number] for number in likeliest]}\n"


def test_weights_are_those_of_the_checkpoint_under_the_names_of_inspect(rnn, tmp_path: Path) -> None:
    source, file = CHECKPOINTS / "classify-folds" / "best.safetensors", tmp_path / "all.safetensors"
    ran = rnn(f"export {source} --weights {file} --json")
    assert ran.code == 0
    (facts,) = json.loads(ran.out)["files"]
    assert (facts["form"], facts["file"], facts["difference"]) == ("weights", str(file), None)
    assert facts["bytes"] == file.stat().st_size
    kept, found = checkpoint.read(source).tensors, load_file(file)
    assert {f"model.{name}" for name in found} == {name for name in kept if name.startswith("model.")}
    assert all(torch.equal(kept[f"model.{name}"], value) for name, value in found.items())
    with safe_open(file, "pt") as opened:
        about = {name: json.loads(value) for name, value in opened.metadata().items()}
    assert (about["task"], about["cell"], about["classes"]) == (
        "poetry-classify",
        "lstm:diagonal",
        ["hillside", "nocturne"],
    )


@pytest.mark.parametrize(("name", "order"), [("verse-voices", 3), ("prose-running", 5), ("chars-voices", 5)])
def test_n_grams_in_the_file_measure_as_the_baseline(name: str, order: int, tmp_path: Path) -> None:
    model, task = model_of(name), TASKS[model_of(name).task]
    (exported,) = model.export(arpa=tmp_path / "x.arpa", order=None if order == 5 else order)
    assert exported.about == f"modified Kneser-Ney {order}-grams of {model.payload['corpus']}"
    read, grams = read_arpa((tmp_path / "x.arpa").read_text("utf-8"))
    assert read == order
    assert task.token_access is not None
    assert task.baselines is not None
    options, special = task.evaluate.Options(), {START: "<s>", END: "</s>", UNKNOWN: "<unk>"}
    names = [special.get(number) or written_token(token) for number, token in enumerate(model.codec.vocabulary.tokens)]
    texts = [[names[number] for number in ids] for ids in task.token_access.measured_arrays(model, options)]
    wanted = task.baselines(model, options)[f"modified Kneser-Ney {order}-gram"]["loss"]
    assert nats(order, grams, texts) == pytest.approx(wanted, rel=1e-7)


def test_n_grams_of_another_text(tmp_path: Path) -> None:
    text, file = tmp_path / "mine.txt", tmp_path / "two.arpa"
    text.write_text("the bell\nthe bell\n")
    (exported,) = model_of("verse-voices").export(arpa=file, order=2, corpus=text)
    assert exported.about == f"modified Kneser-Ney 2-grams of {text}"
    _, grams = read_arpa(file.read_text())
    known = {gram for gram in grams if len(gram) == 2}
    assert known == {("<s>", "the"), ("the", "bell"), ("bell", "</s>")}


def test_several_files_are_written_or_none(rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = CHECKPOINTS / "verse-book" / "best.safetensors"  # gru:reset-before with relu
    Path("old.arpa").write_text("an older file", encoding="utf-8")
    ran = rnn(f"export {source} --torch t.safetensors --weights w.safetensors --arpa old.arpa")
    assert ran.code == 2
    assert ran.err.startswith(
        "rnn: error: --torch: cell gru:reset-before with relu: torch has no layer with its equations"
    )
    assert [each.name for each in tmp_path.iterdir() if each.name != "home"] == ["old.arpa"]
    ran = rnn(f"export {source} --weights w.safetensors --arpa old.arpa --order 2")
    assert ran.code == 0
    first, second = ran.out.splitlines()
    assert re.fullmatch(r"w\.safetensors: [\d.]+ kB; 7 tensors, [\d,]+ numbers", first)
    assert re.fullmatch(r"old\.arpa: [\d.]+ kB; modified Kneser-Ney 2-grams of hillside", second)
    assert Path("old.arpa").read_text(encoding="utf-8").startswith("\\data\\\nngram 1=")
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("", "name the file to write: --onnx FILE, --weights FILE, --torch FILE, --arpa FILE"),
        ("--weights x --arpa x", "--weights and --arpa name the same file: give each its own"),
        ("--weights x --label hillside", "--label chooses the voice of --onnx and --torch: leave it out"),
        ("--weights x --order 3", "--order and --corpus are for --arpa: leave them out"),
        ("--arpa x --order 21", "--order must be from 1 to 20, not 21"),
        ("--arpa x --corpus no-such-text", "no-such-text"),
        ("--torch x --label nobody", "has no voice 'nobody': its labels are hillside, nocturne"),
    ],
)
def test_a_refused_export_is_one_line(rnn, tmp_path: Path, monkeypatch, words: str, refusal: str) -> None:
    monkeypatch.chdir(tmp_path)
    ran = rnn(f"export {CHECKPOINTS / 'verse-voices' / 'best.safetensors'} {words}")
    assert ran.code in (1, 2)
    assert ran.err.count("\n") == 1
    assert refusal in ran.err
    assert not Path("x").exists()


def test_only_language_models_have_n_grams(tmp_path: Path) -> None:
    model = model_of("parity-solved")
    with pytest.raises(UsageError, match="is a model of parity: --arpa takes the text of a language model"):
        model.export(arpa=tmp_path / "x.arpa")
    (exported,) = model.export(torch=tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert json.loads(file.metadata()["layers"])["stack"]["layer"] == "RNN"
        assert {"stack.weight_ih_l0", "stack.h0", "output.weight"} <= set(file.keys())
    assert exported.about.startswith("torch.nn.RNN gives the same numbers")


def test_names_of_the_docs_are_those_of_the_nets() -> None:
    """Each name of the table of `--weights` belongs to a net, and each weight of these nets is in the table."""
    table = PAGE.read_text("utf-8").partition("## Weights")[2].partition("```")[0]
    rows = (row.split("|")[1] for row in table.splitlines() if row[:2] == "| ")
    listed = {name for row in rows for name in re.findall(r"`([a-z_.N…0-9]+)`", row)} - {"members.N."}
    patterns = [re.escape(name).replace("N", r"\d+").replace("…", ".+") for name in listed]
    patterns.append(rf"(?:stack|encoder|decoder)\.cells\.\d+\.(?:{'|'.join(patterns)}|weight_\w+|bias_\w+)")
    nets = ("verse-spelled", "verse-voices", "chars-voices", "tags", "dates", "parity-solved")
    names = {name for each in nets for name, _ in model_of(each).model.named_parameters()}
    assert [name for name in sorted(names) if not any(re.fullmatch(each, name) for each in patterns)] == []
    plain = [each for each in patterns if "cells" not in each and any(re.fullmatch(each, name) for name in names)]
    assert len(plain) > 8
