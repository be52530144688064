"""`rnn report` as a new user runs it, for every task."""

import base64
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.pages import data_of

import rnncli
from rnncli.analysis import report
from rnncli.analysis.report import embedded
from rnncli.tasks import TASKS

SMALL = {
    "parity": "--epochs 1 --validate-every 0",
    "poetry-classify": "--hidden 4 --epochs 1 --folds 0 --ensemble 1",
    "translate": "--hidden 8 --embedding 8 --epochs 1 --tokens char",
}
LANGUAGE = {"curves", "facts", "samples", "surprisal", "horizon", "map", "units"}
PANELS = {"parity": {"curves", "facts", "horizon", "units", "confusion"}} | {
    "translate": {"curves", "facts", "samples", "attention"},
    "tag": {"curves", "facts", "units", "confusion"},
    "poetry-classify": {"curves", "facts", "units", "confusion"},
}


@pytest.mark.parametrize(
    "task",
    [pytest.param(task, marks=pytest.mark.slow) if task in ("wiki-lm", "poetry-classify") else task for task in TASKS],
)
def test_every_task_has_its_page(task: str, rnn, trained, home: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("".join(f"{n} and {n}\t{n}+{n}\n" for n in range(40)))
    corpus = f"--corpus {tmp_path}/pairs.tsv" if task == "translate" else ""
    words = SMALL.get(task, "--hidden 4 --epochs 1")
    assert trained(f"train {task} --name mine --seed 1 {words} {corpus}".strip()).code == 0
    printed = json.loads(rnn("report mine --json").out)
    file = home / f"checkpoints/{task}/mine/report.html"
    assert printed["file"] == str(file)
    assert printed["bytes"] == file.stat().st_size < 3_000_000
    panels = data_of(file)["panels"]
    assert [panel["kind"] for panel in panels] == printed["panels"]
    others = LANGUAGE if "generate" in TASKS[task].uses else {"curves", "facts"}
    assert set(printed["panels"]) == PANELS.get(task, others)
    assert not re.search(r"(src|href)=\"(?!data:)|https?://(?!www\.w3\.org/2000/svg)|@import", file.read_text("utf-8"))


def test_the_values_of_units_are_those_of_the_net(rnn, trained, tmp_path: Path) -> None:
    assert trained("train parity --seed 1 --name mine").code == 0
    assert rnn(f"report mine --out {tmp_path}/page.html").code == 0
    (panel,) = [each for each in data_of(tmp_path / "page.html")["panels"] if each["kind"] == "units"]
    recording = rnncli.load("mine").activations(max_tokens=1500)
    assert len(panel["units"]) == 4
    for unit in panel["units"]:
        values = np.frombuffer(base64.b64decode(unit["values"]), np.int8) / 127 * unit["most"]
        state, place = unit["name"].split(":")
        np.testing.assert_allclose(values, recording.states[state][:, int(place)], atol=unit["most"] / 253)


def test_curves_name_their_units_and_their_best_step(rnn, trained, tmp_path: Path) -> None:
    assert trained("train parity --seed 1 --name mine").code == 0
    assert rnn(f"report mine --out {tmp_path}/page.html").code == 0
    (loss,) = [each for each in data_of(tmp_path / "page.html")["panels"] if each["kind"] == "curves"]
    assert (loss["across"], loss["up"]) == ("steps", "nats per prediction")
    validation = dict(loss["lines"][-1]["points"])
    assert validation[loss["best"]] == min(validation.values())


class Writer:
    """An action that writes blanks for some seeds."""

    def __init__(self, blank: set[int]) -> None:
        self.blank, self.seeds = blank, list[int]()

    def __call__(self, trained: object, verb: str, *, seed: int, **given: object) -> SimpleNamespace:
        self.seeds.append(seed)
        return SimpleNamespace(texts=[" \n" * 250 if seed in self.blank else f"text {seed}"])


def test_samples_have_seeds_of_their_own_and_are_not_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer({2, 5, *range(3, 18, 3)})
    monkeypatch.setattr(report, "_do", writer)
    (panel,) = report._samples(SimpleNamespace())  # type: ignore[arg-type]  # only the writer takes it
    assert panel["samples"] == [
        ["temperature 0.5, seed 1", "text 1"],
        ["temperature 0.8, seed 8", "text 8"],
        ["temperature 1, seed 3", "nothing but blanks, with 5 seeds"],
    ]
    assert len(set(writer.seeds)) == len(writer.seeds)


def test_a_page_holds_no_tag_of_a_text() -> None:
    hostile = "</script><!-- <b>&amp; \u2028\u2029 ü"
    assert not set("<>&\u2028\u2029") & set(embedded([hostile]))
    assert json.loads(embedded([hostile])) == [hostile]


def test_a_panel_that_fails_is_a_note(rnn, home: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the gate stood open and the field was white\n" * 60)
    assert rnn(f"train char-lm --hidden 4 --epochs 1 --name mine --corpus {text}").code == 0
    (home / "checkpoints/char-lm/mine/metrics.jsonl").write_text('{"step": 1')
    text.unlink()
    file = tmp_path / "page.html"
    assert rnn(f"report mine --out {file}").code == 0
    (facts,) = [panel for panel in data_of(file)["panels"] if panel["kind"] == "facts"]
    assert dict(facts["rows"])["corpus"] == "text.txt"
    assert dict(facts["rows"])["epochs"] == 1
    ran = rnn("report mine")
    assert ran.code == 0
    assert "Units: left out: " in ran.err
    assert "text.txt" in ran.err
    assert str(home / "checkpoints/char-lm/mine/report.html") in ran.out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("mine --out page.pdf", "end its name in .html"),
        ("mine --from mine", "RUN and --from both name the model"),
        ("nothing", "there is no run 'nothing'"),
    ],
)
def test_errors_are_one_line(words: str, complaint: str, rnn) -> None:
    ran = rnn(f"report {words}")
    assert (ran.code in (1, 2), ran.out, ran.err.count("\n")) == (True, "", 1)
    assert complaint in ran.err
