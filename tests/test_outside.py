"""Things of other packages: tasks, a verb, an optimizer, a decoding option and a corpus pass the whole contract."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import visiting_language, visitor

import rnncli
from rnncli import plugins
from rnncli.cli import VERBS
from rnncli.data.corpora import CORPORA
from rnncli.models.decoding import beam_search
from rnncli.models.language_model import LanguageModel
from rnncli.models.sampling import DECODING, Sampling, token_probabilities
from rnncli.models.stack import StackShape
from rnncli.plugins import Registry
from rnncli.tasks import TASKS
from rnncli.training import checkpoint
from rnncli.training.optimizers import OPTIMIZERS

TESTS = Path(__file__).parent

DECLARED = """
[rnncli.tasks]
vowels = support.visitor:TASK
[rnncli.verbs]
shout = support.visitor:VERB
[rnncli.optimizers]
signs = support.visitor:SIGNS
[rnncli.decoding]
rank = support.visitor:RANK
[rnncli.corpora]
plums = support.visitor:CORPUS
"""

BROKEN = """
[rnncli.tasks]
parity = support.visitor:TASK
odd = support.visitor:NOT_A_TASK
[rnncli.verbs]
gone = no_such_module:VERB
[rnncli.optimizers]
none = support.visitor:NO_SUCH_NAME
"""


def install_examples(folder: Path) -> None:
    """A package with the examples of CONTRIBUTING, one module each, declared as on that page."""
    page = (TESTS.parent / "CONTRIBUTING.md").read_text("utf-8").partition("## A new task")[2]
    declared = re.findall(r"```toml\n(\[project.*?)```", page, re.DOTALL)[0]
    modules = re.findall(r"my_package\.(\w+)", declared)
    (folder / "my_package").mkdir(parents=True)
    for module, example in zip(modules, re.findall(r"```python\n(.*?)```", page, re.DOTALL), strict=True):
        (folder / "my_package" / f"{module}.py").write_text(example)
    install(folder, "my-package", re.sub(r'project\.entry-points\.|"', "", declared))


def install(folder: Path, name: str, entry_points: str) -> None:
    """Make the dist-info folder of an installed package."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def visiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything in the visitor package, registered for one test."""
    monkeypatch.setitem(TASKS, "vowels", visitor.TASK)
    monkeypatch.setitem(TASKS, "names-lm", visiting_language.TASK)
    monkeypatch.setitem(VERBS, "shout", visitor.VERB)
    monkeypatch.setitem(OPTIMIZERS, "signs", visitor.SIGNS)
    monkeypatch.setitem(DECODING, "rank", visitor.RANK)
    monkeypatch.setitem(CORPORA, "plums", visitor.CORPUS)


def weights(home: Path, run: str) -> dict[str, torch.Tensor]:
    return checkpoint.read(home / "checkpoints" / run / "last.safetensors").tensors


def test_outside_task_trains_resumes_and_serves_a_verb(visiting, rnn, home: Path) -> None:
    train = "train vowels --optimizer signs --lr 0.05"
    assert rnn(f"{train} --name whole --epochs 3").code == 0
    assert rnn(f"{train} --name part --epochs 1").code == 0
    assert rnn("train vowels --resume --name part --epochs 3").code == 0
    whole, part = weights(home, "vowels/whole"), weights(home, "vowels/part")
    assert any(name.endswith(".steps") for name in whole)
    assert whole.keys() == part.keys()
    assert all(torch.equal(whole[name], part[name]) for name in whole)
    measured = json.loads(rnn("evaluate vowels --from whole --json").out)
    assert measured["corpus"] == "plums"
    assert measured["metrics"]["loss"] > 0
    label = json.loads(rnn("shout whole plum --json").out)["label"]
    assert rnn("shout whole plum").out == f"{label.upper()}\n"
    (printed,) = json.loads(rnn("classify --from whole plum --json").out)["texts"]
    assert (printed["label"], printed["words"]) == (label, [])
    assert rnn("classify --from whole plum").out.startswith(f"{label} {printed['probability']:.3f}")
    assert rnncli.load("whole").classify(["plum"])[0].probs == printed["probabilities"]
    assert "Learn whether a word begins with a vowel." in rnn("train --help").out
    assert "Example: rnn shout my-run apple" in rnn("shout --help").out
    assert "signs" in rnn("train parity --help").out


def test_outside_language_model_resumes_and_supports_all_verbs(visiting, rnn, home: Path) -> None:
    assert rnn("train names-lm --name whole --epochs 2").code == 0
    assert rnn("train names-lm --name part --epochs 1").code == 0
    assert rnn("train names-lm --resume --name part --epochs 2").code == 0
    whole, part = weights(home, "names-lm/whole"), weights(home, "names-lm/part")
    assert whole.keys() == part.keys()
    assert all(torch.equal(whole[name], part[name]) for name in whole)
    measured = json.loads(rnn("evaluate names-lm --from whole --baselines --json").out)
    best = min(each["perplexity"] for each in measured["baselines"].values())
    assert 1 < best < measured["metrics"]["perplexity"] < 50  # of 50 letters
    written = rnn("generate names --from whole --seed 1 --length 9 --prime the")
    assert len(written.out) == len("the") + 9 + len("\n")
    assert json.loads(rnn("score --from whole 'the hill' 'xq zzkj' --json").out)["texts"][0]["rank"] == 1
    assert {"surprisal", "units"} < set(json.loads(rnn("report whole --json").out)["panels"])
    assert "Example: rnn generate names --length 40" in rnn("generate names --help").out


def test_run_needs_its_packages(visiting, rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rnn("train vowels --optimizer signs --name mine --epochs 1").code == 0
    monkeypatch.delitem(OPTIMIZERS, "signs")
    ran = rnn("train vowels --resume --name mine --epochs 2")
    assert ran.code == 1
    assert "--optimizer must be one of sgd, rmsprop, adam, adamw, muon, normuon, not 'signs'" in ran.err
    monkeypatch.delitem(TASKS, "vowels")
    ran = rnn("inspect mine")
    assert ran.code == 2
    assert "is a model of 'vowels', a task that neither this version nor an installed package has" in ran.err


def test_tagger_trains_on_an_outside_corpus(visiting, rnn) -> None:
    small = "--hidden 3 --word-size 2 --char-size 2 --epochs 1"
    assert "plums" in rnn("data list").out
    assert rnn(f"train tag --corpus plums {small} --name mine").code == 0
    measured = json.loads(rnn("evaluate tag --from mine --json").out)["metrics"]
    assert set(measured["confusion"]) == {"ADJ", "DET", "NOUN", "PRON", "VERB"}
    tagged = rnn("tag --from mine 'a plum'").out.splitlines()
    assert [line.split("\t")[0] for line in tagged] == ["a", "plum"]
    assert "brown, plums, or a file" in rnn("train tag --corpus frost").err


def test_a_decoding_option_serves_drawing_and_search(visiting) -> None:
    logits = torch.tensor([[0.5, 3.0, 2.0, 1.0]])
    assert token_probabilities(logits, Sampling(rank=2), torch.tensor([0])).tolist() == [[0, 0, 1, 0]]
    assert token_probabilities(logits, Sampling(rank=2), torch.tensor([1])).tolist() == [[0, 0, 0, 1]]
    torch.testing.assert_close(token_probabilities(logits, Sampling(), torch.tensor([], dtype=int)), logits.softmax(-1))
    torch.manual_seed(1)
    model = LanguageModel(7, 3, StackShape("elman", (4,))).eval()
    states = model.initial_states(1)
    (found,) = beam_search(
        model.stepper(), states, start=3, end=None, width=1, max_length=[4], sampling=Sampling(rank=2)
    )
    token, wanted = torch.tensor([3]), []
    with torch.inference_mode():
        for _ in range(4):
            scores, states = model.stepper()(token, states)
            token = scores.topk(2).indices[:, 1]
            wanted += token.tolist()
    assert found[0].tokens == wanted


def test_installed_package_is_found_and_a_broken_one_is_skipped(tmp_path: Path) -> None:
    install(tmp_path / "site", "visitor", DECLARED)
    install(tmp_path / "site", "broken", BROKEN)
    install_examples(tmp_path / "site")
    program = (
        "import sys; from rnncli.__main__ import run\n"
        "for words in sys.argv[1:]:\n"
        "    print('>>>', words, flush=True)\n"
        "    code = run(words.split())\n"
        "    assert code == 0, code"
    )
    model = TESTS / "checkpoints" / "chars-voices" / "best.safetensors"
    commands = [
        "data list --json",
        "train parity --help",
        "train --help",
        "--help",
        f"generate char --from {model} --rank 2 --epsilon 0.1 --length 5 --json",
        "train first --steps 3 --epochs 1 --batch-size 2 --optimizer adamax --name mine --json",
        "evaluate first --json",
        "best mine",
    ]
    paths = [str(TESTS.parent), str(TESTS), str(tmp_path / "site")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "RNN_HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", program, *commands], capture_output=True, text=True, env=environment, check=False
    )
    assert ran.returncode == 0, ran.stderr
    listed, parity, tasks, verbs, written, trained, measured, best = (
        part.partition("\n")[2] for part in ran.stdout.split(">>> ")[1:]
    )
    assert {"plums", "steps"} < {each["name"] for each in json.loads(listed)["corpora"]}
    assert "signs" in parity
    assert "vowels" in tasks
    assert "shout" in verbs
    assert json.loads(written)["texts"][0]["tokens"] == 5
    loss = json.loads(trained)["metrics"]["loss"]
    assert json.loads(measured)["metrics"] == {"loss": pytest.approx(loss)}
    assert best == f"loss {loss}\n"
    warnings = sorted(line for line in ran.stderr.splitlines() if "warning" in line)
    assert warnings == [
        "rnn: warning: rnncli.optimizers 'none' of package broken is left out: AttributeError: module 'support.visitor'"
        " has no attribute 'NO_SUCH_NAME'",
        "rnn: warning: rnncli.tasks 'odd' of package broken is left out: TypeError: it is a str, not a Task",
        "rnn: warning: rnncli.tasks 'parity' of package broken is left out: ValueError: this name is taken",
        "rnn: warning: rnncli.verbs 'gone' of package broken is left out: ModuleNotFoundError: No module named"
        " 'no_such_module'",
    ]


def test_own_names_import_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "numbers-outside", "[rnncli.numbers]\ntwo = outside_numbers:TWO\nend = outside_end:END\n")
    (tmp_path / "outside_numbers.py").write_text("TWO = 2\n")
    (tmp_path / "outside_end.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins._any_declared.cache_clear()
    try:
        numbers: Registry[int] = Registry("rnncli.numbers", int, {"one": 1, "half": "math:tau"})
        assert (numbers["one"], "one" in numbers) == (1, True)
        assert "outside_numbers" not in sys.modules
        assert numbers["half"] == pytest.approx(6.2831853)  # imported when it is looked up
        assert capsys.readouterr().err == ""
        assert numbers["two"] == 2
        assert list(numbers) == ["one", "half", "two"]
        assert len(capsys.readouterr().err.splitlines()) == 1  # of `end`, once
    finally:
        plugins._any_declared.cache_clear()
        sys.modules.pop("outside_numbers", None)
