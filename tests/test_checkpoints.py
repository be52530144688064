"""Checkpoints of an earlier version load, and give the figures that were recorded with them."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

import rnncli

FOLDER = Path(__file__).parent / "checkpoints"
RECORDS: dict[str, dict[str, Any]] = json.loads((FOLDER / "figures.json").read_text(encoding="utf-8"))
FINISHED = [name for name, record in RECORDS.items() if "printed" in record]
UNFINISHED = [name for name, record in RECORDS.items() if "last validation" in record]
ALSO = ("verse-plateau", "verse-adaptive", "prose-sentences", "chars-averaged", "pieces", "dates-averaged")
"""Other recipes of a task that the fast suite resumes in one."""

COUNTED = ("accuracy", "balanced", "spread", "right", "bleu", "chrf", "exact_match")
"""Parts of the names of metrics that count right answers: rounding decides between answers with nearly equal scores."""


def fixture_file(name: str) -> Path:
    return FOLDER / name / RECORDS[name]["file"]


def config_of(name: str) -> dict[str, Any]:
    """The settings in the file."""
    with safe_open(fixture_file(name), "pt") as file:
        config: dict[str, Any] = json.loads(file.metadata()["header"])["config"]
    return config


@pytest.fixture
def place(home: Path) -> Callable[[str], Path]:
    """Copies a fixture to the folder of its run."""

    def copy(name: str) -> Path:
        run = home / "checkpoints" / RECORDS[name]["task"] / name
        run.mkdir(parents=True)
        shutil.copyfile(fixture_file(name), run / RECORDS[name]["file"])
        return run

    return copy


def check_figures(found: dict[str, Any], recorded: dict[str, float], relative: float) -> None:
    assert recorded.keys() <= found.keys()
    for metric, value in recorded.items():
        if isinstance(value, int) and metric != "right":
            assert found[metric] == value, metric
        elif any(part in metric for part in COUNTED):
            assert found[metric] == pytest.approx(value, rel=0.02, abs=0.01), metric
        else:
            assert found[metric] == pytest.approx(value, rel=relative), metric


def figures_of(printed: dict[str, Any]) -> dict[str, Any]:
    """The --json output of a verb, as figures by name."""
    if "neighbors" in printed:
        return {neighbor["word"]: neighbor["score"] for neighbor in printed["neighbors"]}
    metrics: dict[str, Any] = printed["metrics"]
    return metrics


@pytest.mark.parametrize("name", FINISHED)
def test_finished_checkpoint_prints_recorded_figures(name: str, place, rnn) -> None:
    place(name)
    for words, recorded in RECORDS[name]["printed"].items():
        ran = rnn(f"{words} --from {name} --json")
        assert ran.code == 0, ran.err
        check_figures(figures_of(json.loads(ran.out)), recorded, relative=1e-5)


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.slow] if each in ALSO else []) for each in UNFINISHED]
)
def test_unfinished_checkpoint_resumes_to_recorded_figures(name: str, place, rnn) -> None:
    run, record = place(name), RECORDS[name]
    ran = rnn(f"train {record['task']} --resume --name {name} --json {record['resumed with']}")
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)
    assert (result["finished"], result["steps"]) == (record["finished"], record["last validation"]["step"])
    *_, last = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    check_figures(json.loads(last), record["last validation"], relative=1e-4)


@pytest.mark.parametrize("name", RECORDS)
def test_checkpoint_loads_from_its_file(name: str) -> None:
    model = rnncli.load(fixture_file(name))
    assert model.task == RECORDS[name]["task"]
    assert not model.model.training


def test_files_match_the_record() -> None:
    assert {path.parent.name for path in FOLDER.glob("*/*")} == set(RECORDS)
    for name, record in RECORDS.items():
        assert hashlib.sha256(fixture_file(name).read_bytes()).hexdigest() == record["sha256"], name


def cells(configs: list[dict[str, Any]]) -> Iterator[str]:
    """The cells by name and variant; a name without a variant is the first one."""
    first = {"gru": "gru:reset-before", "lstm": "lstm:full"}
    return (first.get(config["cell"], config["cell"]) for config in configs if config.get("model") != "mlp")


def test_files_cover_all_tasks_and_cells_of_their_time() -> None:
    tasks = {"parity", "poetry-lm", "poetry-classify", "tag", "wiki-lm", "char-lm", "translate"}
    assert {RECORDS[name]["task"] for name in FINISHED} == tasks
    assert {RECORDS[name]["task"] for name in UNFINISHED} == tasks
    lstms = {"lstm:full", "lstm:diagonal", "lstm:none"}
    kinds = {"elman", "rated", "gru:reset-before", "gru:reset-after", *lstms}
    ended, stopped = ([config_of(name) for name in names] for names in (FINISHED, UNFINISHED))
    assert set(cells(ended)) == kinds
    assert set(cells(stopped)) == kinds
    configs = ended + stopped
    values = {
        "optimizer": {"sgd", "rmsprop", "adam", "adamw", "muon", "normuon"},
        "schedule": {"constant", "exponential", "cosine", "plateau"},
        "backend": {"auto", "reference", "fused", "library"},
        "precision": {"float32", "bfloat16"},
        "activation": {None, "sigmoid", "relu"},
        "tokens": {"char", "bytes", "word", "bpe"},
        "softmax": {"full", "adaptive", "sampled"},
        "attention": {"none", "additive", "dot", "general"},
        "model": {"rnn", "mlp"},
    }
    switches = ("learn_h0", "tied", "bidirectional", "voices", "bag", "running", "unit_vectors", "lowercase")
    values |= {name: {False, True} for name in (*switches, "class_weights")}
    for name, expected in values.items():
        assert {config[name] for config in configs if name in config} == expected, name
    for name in ("weight_drop", "average", "spelling", "weight_decay", "layer_dropout", "folds", "keep_words"):
        assert any(config.get(name) for config in configs), name
    for group in (ended, stopped):
        assert any(config.get("folds", 0) > 1 and config["ensemble"] > 1 for config in group)
        assert any(config["average"] for config in group)
        assert any(config.get("weight_drop") for config in group)
        assert any("," in config["hidden"] for config in group)
    assert {feature for config in configs for feature in config.get("features", ())} == {"tags", "words", "chars"}
