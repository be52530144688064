"""The verbs as a new user runs them."""

import json
import math
import re
from pathlib import Path

import pytest

from rnncli.kernels import fused
from rnncli.training import checkpoint
from rnncli.training.runs import Run

QUICK = "--hidden 16 --embedding 12 --epochs 2 --corpus hillside"


@pytest.fixture
def poet(rnn, trained):
    """The command line, with a quickly trained model of poems."""
    assert trained(f"train poetry-lm {QUICK} --name poet").code == 0
    return rnn


@pytest.mark.draws
def test_train_prints_its_progress_and_saves_a_complete_run(rnn, home: Path) -> None:
    ran = rnn("train parity --seed 1 --name mine")
    assert ran.code == 0
    assert "parity on all 4,096 strings of 12 bits" in ran.err
    backend = "torch" if fused.trouble() else "fused"
    assert f"elman 4: 38 parameters, on cpu, {backend} backend" in ran.err
    assert "parity: solved" in ran.out
    assert "mine/best.safetensors" in ran.out
    folder = home / "checkpoints/parity/mine"
    assert {file.name for file in folder.iterdir()} == {
        "best.safetensors",
        "last.safetensors",
        "previous.safetensors",
        "metrics.jsonl",
        "metrics.csv",
        "curve.png",
    }
    assert (folder / "curve.png").stat().st_size > 10_000
    assert all(json.loads(line)["loss"] > 0 for line in (folder / "metrics.jsonl").read_text().splitlines())


def test_train_prints_why_cells_are_slow(rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "trouble", lambda: "the fused backend needs numba: none here")
    ran = rnn("train parity --seed 1 --epochs 1")
    assert "rnn: warning: the fused backend needs numba: none here; cells are slower without it" in ran.err
    assert "slower" not in rnn("train parity --seed 1 --epochs 1 --backend reference").err


@pytest.mark.slow
def test_auto_takes_the_best_backend_of_this_machine(rnn) -> None:
    """With numba, compiled loops; without it (`RNN_HIDE=numba pytest`), plain ones and a warning with the reason."""
    try:
        import numba
    except ModuleNotFoundError as error:
        backend, why = "reference", f"rnn: warning: the fused backend needs numba: {error}; cells are slower without it"
    else:
        backend, why = "fused", ""
        assert numba.__version__
    ran = rnn("train parity --cell gru --seed 1 --epochs 1")
    assert ran.code == 0
    assert f"{backend} backend" in ran.err
    assert why in ran.err
    assert ("the fused backend needs numba" in ran.err) == bool(why)


def test_standard_output_has_only_json(rnn, home: Path) -> None:
    trained = json.loads(rnn(f"train poetry-lm {QUICK} --name poet --json").out)
    assert {"task", "corpus", "checkpoint", "seconds", "metrics"} <= trained.keys()
    assert trained["metrics"].keys() == {"loss", "perplexity", "accuracy"}
    assert Path(trained["checkpoint"]).is_file()
    evaluated = json.loads(rnn("evaluate poetry-lm --baselines --json").out)
    assert evaluated["metrics"]["loss"] == pytest.approx(trained["metrics"]["loss"])
    assert set(evaluated["baselines"]) >= {"unigram"}
    assert len(json.loads(rnn("generate poetry --lines 3 --json").out)["lines"]) == 3
    assert json.loads(rnn("runs list --json").out)["runs"][0]["run"] == "poet"
    assert rnn("runs --json").out == rnn("runs list --json").out
    assert rnn("runs --json delete poet").code == 2  # which prints no result
    inspected = json.loads(rnn("inspect poet --json").out)
    assert (inspected["task"], inspected["verified"]) == ("poetry-lm", True)


def test_generate_writes_lines_and_names_its_model(poet) -> None:
    ran = poet("generate poetry --lines 5 --seed 2 --prime 'the wall quixotic'")
    lines = ran.out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("the wall quixotic")
    assert "poet/best.safetensors (hillside)" in ran.err
    assert "never seen in training: quixotic" in ran.err
    assert re.search(r"seed 2; \d of 5 lines \(\d+%\) copy the training text", ran.err)
    assert poet("generate poetry --lines 5 --seed 2 --prime 'the wall quixotic'").out == ran.out
    assert poet("generate poetry --lines 5").out != poet("generate poetry --lines 5").out


def test_generate_takes_the_options_of_the_model_s_task(poet) -> None:
    written = poet("generate poetry --lines 2 --seed 2").out
    assert poet("generate --from poet --lines 2 --seed 2").out == poet("generate --lines 2 --seed 2").out == written
    for words, complaint in (
        ("generate wiki --from poet", "'poet' is a run of poetry-lm, not of wiki-lm"),
        ("generate --from poet --lines 0", "--lines must be at least 1, not 0"),
    ):
        assert poet(words) == (2, "", f"rnn: error: {complaint}\n")


def test_evaluate_shows_the_baselines_next_to_the_model(poet) -> None:
    out = poet("evaluate poetry-lm --baselines").out
    for row in (
        "gru:reset-after 16",
        "unigram",
        "Kneser-Ney trigram, discount 0.1",
        "best on training lines",
    ):
        assert row in out


def test_the_measured_corpus_is_named(poet) -> None:
    assert json.loads(poet("evaluate poetry-lm --json").out)["corpus"] == "hillside, held-out lines"
    assert json.loads(poet("evaluate poetry-lm --corpus nocturne --json").out)["corpus"] == "nocturne"


def test_inspect_shows_the_contents_of_a_file(poet, home: Path) -> None:
    out = poet(f"inspect {home}/checkpoints/poetry-lm/poet/best.safetensors").out
    for part in (
        "sha256",
        "embedding.weight",
        "perplexity",
        "gru:reset-after",
        "vocabulary, ",
        "<start> <end> <unknown>",
    ):
        assert part in out


def test_inspect_writes_settings_that_train_takes(poet, home: Path) -> None:
    ran = poet("inspect poet --config")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("# rnn train poetry-lm --config FILE\nepochs = 2\n")
    (home / "mine.toml").write_text(ran.out, encoding="utf-8")
    assert poet(f"train poetry-lm --config {home / 'mine.toml'} --name again").code == 0
    again, first = (
        checkpoint.read(home / f"checkpoints/poetry-lm/{name}/last.safetensors") for name in ("again", "poet")
    )
    assert again.header["config"] == first.header["config"]
    assert "give one of them" in poet("inspect poet --config --json").err


def test_runs_are_listed_and_deleted(poet, home: Path) -> None:
    assert re.search(r"poetry-lm +poet +hillside +done +perplexity", poet("runs").out)
    assert poet("runs delete poet --yes").code == 0
    assert "no runs in" in poet("runs").err
    assert not (home / "checkpoints/poetry-lm/poet").exists()


def test_runs_are_pruned(poet, home: Path) -> None:
    folder = home / "checkpoints/poetry-lm/poet"
    assert re.search(r"hillside +done +perplexity \S+ +\d{4}-\d\d-\d\d +\d", poet("runs").out)
    size = (folder / "previous.safetensors").stat().st_size
    ran = poet("runs prune --yes")
    assert (ran.code, ran.err) == (0, f"freed {size / 1000:.1f} kB\n")
    assert not (folder / "previous.safetensors").exists()
    assert poet("runs prune poet -y").err == "no run has a previous.safetensors: nothing to remove\n"
    (folder / "last.safetensors").rename(folder / "previous.safetensors")
    ran = poet("runs prune --yes")
    assert ran.code == 1
    assert ran.err.startswith(f"rnn: warning: {folder / 'last.safetensors'} is not there: name a checkpoint: previous.")


def test_a_run_continues_with_more_epochs_but_not_with_another_net(poet) -> None:
    assert " is unfinished: `rnn train poetry-lm` starts" in poet("train poetry-lm --resume").err
    refused = poet("train poetry-lm --resume --name poet --hidden 32")
    assert refused.code == 2
    assert "--hidden cannot change when a run is resumed: it was 16, not 32" in refused.err
    assert poet("train poetry-lm --resume --name poet --epochs 3").code == 0
    records = json.loads(poet("inspect poet --json").out)
    assert records["steps"] in (22, 33)


def test_resuming_checks_its_settings_and_its_task(poet) -> None:
    assert "--epochs must be at least 0, not -3" in poet("train poetry-lm --resume --name poet --epochs -3").err
    assert "--device must be one of" in poet("train poetry-lm --resume --name poet --device tpu").err
    ran = poet("train parity --resume --name poetry-lm/poet")
    assert ran.code == 2
    assert ran.err.count("\n") == 1


def test_a_run_in_training_is_not_touched(poet, home: Path) -> None:
    run = Run(home / "checkpoints/poetry-lm/poet")
    before = run.metrics.read_text()
    with run.locked():
        run.append_metrics([{"step": 10**6}])
        ran = poet("train poetry-lm --resume --name poet --epochs 9")
        assert (ran.code, ran.err.count("\n")) == (1, 1)
        assert "is being trained by another process" in ran.err
        assert "is being trained" in poet("runs delete poet --yes").err
    assert run.metrics.read_text() == before + '{"step": 1000000}\n'


def test_a_name_with_signs_that_pictures_read_as_formulas(rnn) -> None:
    assert rnn("train parity --seed 1 --epochs 1 --name 'a$b^$ c'").code == 0


def test_a_damaged_last_is_named_and_previous_used(poet, home: Path) -> None:
    last = home / "checkpoints/poetry-lm/poet/last.safetensors"
    assert poet("train poetry-lm --resume --name poet --epochs 3 --save-every 0").code == 0
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(bytes(content))
    ran = poet("train poetry-lm --resume --name poet --epochs 4")
    assert ran.code == 0
    message = f"{last} is damaged: its contents do not match its SHA-256: using previous.safetensors"
    assert f"rnn: warning: {message}\n" in ran.err


def test_standard_input_is_a_corpus(rnn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "piped"
    file.write_text("\n".join(f"line {number % 7} of {number % 5} lines" for number in range(50)))
    with file.open() as piped:
        monkeypatch.setattr("sys.stdin", piped)
        ran = rnn("train poetry-lm --hidden 8 --embedding 8 --epochs 1 --corpus -")
    assert ran.code == 0
    assert "poetry-lm on stdin: 45 lines to learn, 5 held out" in ran.err


def test_weights_that_are_not_numbers_are_one_line(rnn, home: Path, tmp_path: Path) -> None:
    assert rnn("train poetry-lm --corpus hillside --hidden 4 --embedding 4 --epochs 1 --name mine").code == 0
    found = checkpoint.read(home / "checkpoints/poetry-lm/mine/best.safetensors")
    name = next(name for name in found.tensors if name.startswith("model."))
    for file, value in (("nan", math.nan), ("inf", -math.inf), ("huge", 3e38)):
        tensors = {each: tensor.clone() for each, tensor in found.tensors.items()}
        weights = [name] if file != "huge" else [each for each in tensors if each.startswith("model.")]
        for each in weights:
            tensors[each].view(-1)[-1 if file != "huge" else slice(None)] = value
        (tmp_path / f"{file}.safetensors").write_bytes(checkpoint.to_bytes(found.header, tensors))
    message = f"holds weights that are not numbers (nan or infinite, in {name.removeprefix('model.')}): take another"
    verbs = ("score 'the gate' --from {}", "evaluate poetry-lm --from {}", "generate poetry --from {}", "report {}")
    for words, file in (*((words, "nan") for words in verbs), (verbs[0], "inf")):
        ran = rnn(words.format(tmp_path / f"{file}.safetensors"))
        assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
        assert message in ran.err
    for words in verbs[:3]:
        ran = rnn(words.format(tmp_path / "huge.safetensors"))
        assert ran.code == 1
        assert re.search("not numbers|is not a number", ran.err)
    assert rnn(f"inspect {tmp_path / 'nan.safetensors'}").code == 0
