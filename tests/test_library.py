"""The library: train with callbacks and corpora from Python, resume, compare, list runs, and what notebooks show."""

import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import rnncli
from rnncli import library
from rnncli.errors import RnnError, UsageError
from rnncli.presets import resolve
from rnncli.results import Evaluation
from rnncli.tasks import TASKS
from rnncli.training.loop import Event

pytestmark = pytest.mark.usefixtures("plain_loops")

LINE = "the gate stood open and the snow fell "
TEXTS = [(LINE[place % 38 :] + LINE[: place % 38]).strip() for place in range(60)]
SMALL: dict[str, Any] = {"hidden": 4, "embedding": 4, "batch_size": 8, "bptt": 16, "epochs": 2, "progress": False}


def train(**options: Any) -> rnncli.Model:
    return rnncli.train("char-lm", **{"corpus": TEXTS, "name": "mine", **SMALL, **options})


def test_options_are_those_of_the_command_line(home: Path, rnn: Callable[[str], Any], tmp_path: Path) -> None:
    """The same text by the same options, given both ways, gives the same weights."""
    (tmp_path / "mine.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    flags = "--hidden 4,4 --embedding 4 --batch-size 8 --bptt 16 --epochs 1 --lr 0.01 --optimizer adam"
    assert rnn(f"train char-lm --corpus {tmp_path / 'mine.txt'} --name typed {flags}").code == 0
    ours = train(hidden=[4, 4], epochs=1, lr=0.01, optimizer="adam")
    theirs = rnncli.load("typed")
    assert ours.source.name == "best.safetensors"
    assert all(
        map(bool, (ours.history["loss"], ours.history == {**theirs.history, "seconds": ours.history["seconds"]}))
    )
    for one, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert one.equal(other)


def test_callbacks_hear_every_event_and_stop_a_run_that_then_resumes(home: Path) -> None:
    """The run that was stopped and resumed ends with the weights of one that was not stopped."""
    heard: list[Event] = []

    def stop(event: Event) -> bool:
        return isinstance(event, rnncli.Validated) and event.step == 20 and "loss" in event.metrics

    stopped = train(callbacks=[heard.append, stop], validate_every=10)
    steps = [event.step for event in heard if isinstance(event, rnncli.Stepped)]
    assert steps == list(range(1, 21))
    assert [event.step for event in heard if isinstance(event, rnncli.Validated)] == [10, 20]
    assert stopped.history["step"] == [10, 20]
    (run,) = rnncli.list_runs("char-lm")
    assert run.state == "stopped by a callback"
    resumed = train(resume=True, **dict.fromkeys(SMALL.keys() - {"progress"}))
    whole = train(name="whole", validate_every=10)
    assert resumed.history["step"] == whole.history["step"]
    assert rnncli.list_runs()[0].state == "done"
    for one, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert one.equal(other)


def test_stop_after_a_step_validates_first(home: Path) -> None:
    model = train(callbacks=[lambda event: isinstance(event, rnncli.Stepped) and event.step == 7])
    assert model.history["step"] == [7]


def test_failing_callback_leaves_a_saved_run(home: Path) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, rnncli.Stepped) and event.step == 5:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        train(callbacks=[fail])
    seen: list[Event] = []
    train(resume=True, callbacks=[seen.append], **dict.fromkeys(SMALL.keys() - {"progress"}))
    assert next(event.step for event in seen if isinstance(event, rnncli.Stepped)) == 6


@pytest.mark.posix("SIGINT to the own process")
def test_ctrl_c_saves_and_says_how_to_continue(home: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, rnncli.Stepped) and event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    again = re.escape(
        "stopped and saved at step 3: rnncli.train('char-lm', name='mine', resume=True) continues from here"
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    try:
        with pytest.raises(KeyboardInterrupt, match=again):
            train(callbacks=[interrupt])
    finally:
        signal.signal(signal.SIGINT, before)
    assert [run.state for run in rnncli.list_runs()] == ["unfinished"]


def test_training_works_in_a_thread(home: Path) -> None:
    found: list[rnncli.Model] = []
    thread = threading.Thread(target=lambda: found.append(train(epochs=1)))
    thread.start()
    thread.join()
    assert found[0].history["step"]


def test_progress_is_on_standard_error_only(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(epochs=1)
    assert capsys.readouterr() == ("", "")
    train(epochs=1, name="shown", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "char-lm on python:" in err
    assert "lstm:none 4: " in err
    assert "step/s" in err


def test_wrong_option_is_refused_in_one_line_before_any_run(home: Path) -> None:
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "name": ({"hiden": 3}, "char-lm has no option 'hiden': did you mean 'hidden'?"),
        "kind": ({"epochs": "3"}, "option epochs must be a whole number, not '3'"),
        "limit": ({"lr": -1.0}, "--lr must be above 0"),
        "choice": ({"device": "gpu"}, "--device must be one of auto, cpu, cuda, mps"),
        "preset": ({"preset": "worst"}, "char-lm has no preset 'worst'"),
        "both": ({"resume": True, "preset": "best"}, "leave preset and config out"),
    }
    for options, message in wrong.values():
        with pytest.raises(UsageError, match=re.escape(message)):
            train(**options)
    with pytest.raises(UsageError, match="there is no task 'char': did you mean 'char-lm'"):
        rnncli.train("char")  # type: ignore[call-overload]
    assert rnncli.list_runs() == []


def test_preset_and_file_of_options_are_those_of_the_command_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Begun(Exception):
        """Instead of a training."""

    def start(task: str, settings: object, name: str | None) -> None:
        raise Begun(task, settings, name)

    monkeypatch.setattr(library.Training, "start", start)
    file = tmp_path / "mine.toml"
    file.write_text("epochs = 1\nbits = 3\n", encoding="utf-8")
    with pytest.raises(Begun) as begun:
        rnncli.train("parity", config=file, seed=7, preset="book", name="one", progress=False)
    assert begun.value.args == ("parity", resolve(TASKS["parity"], {"seed": 7}, "book", file), "one")


def test_run_of_a_corpus_from_python_needs_the_same_items_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = train(epochs=1).evaluate()
    monkeypatch.setattr("rnncli.data.items._HELD", {})  # as in another process
    model = rnncli.load("mine")
    with pytest.raises(UsageError, match="learned from a corpus in the memory of another Python process"):
        model.evaluate()
    with pytest.raises(RnnError, match="is a corpus that another Python process held in memory"):
        rnncli.train("char-lm", name="mine", resume=True, progress=False)
    with pytest.raises(UsageError, match="corpus is not that of run mine"):
        rnncli.train("char-lm", name="mine", resume=True, corpus=TEXTS[1:], progress=False)
    assert model.config.corpus == (rnncli.add_corpus(TEXTS),)  # type: ignore[attr-defined]
    assert model.evaluate() == kept
    assert rnncli.train("char-lm", name="mine", resume=True, corpus=TEXTS, epochs=2, progress=False).history["step"]


def test_resumed_run_takes_its_file_again(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, texts in (("mine.txt", TEXTS), ("other.txt", TEXTS[1:])):
        Path(name).write_text("\n".join(texts), encoding="utf-8")
    train(corpus="mine.txt", epochs=1)
    again: dict[str, Any] = {"name": "mine", "resume": True, "epochs": 2, "progress": False}
    assert len(rnncli.train("char-lm", corpus="mine.txt", **again).history["step"]) == 2
    with pytest.raises(UsageError, match="training text of run mine has changed"):
        rnncli.train("char-lm", corpus="other.txt", **again)


@pytest.mark.slow
def test_labels_pairs_and_words_from_python(home: Path) -> None:
    lines = [(text, "long" if place % 3 else "short") for place, text in enumerate(TEXTS)]
    small = {"hidden": 4, "epochs": 1, "progress": False}
    reader = {"word_size": 4, "char_size": 4}
    model = rnncli.train("poetry-classify", corpus=lines, folds=0, ensemble=1, hold_out=0.2, **reader, **small)
    assert model.classify("the gate")[0].label in ("long", "short")
    assert model.evaluate(corpus=[{"text": "the gate", "label": "long"}])["texts"] == 1
    confusion = model.evaluate()["confusion"]
    assert set(confusion) == {"long", "short"}
    tagged = [(text.split(), [str(len(word)) for word in text.split()]) for text in TEXTS]
    tagger = rnncli.train("tag", corpus=tagged, **reader, **small)
    assert tagger.tag("the gate")[0][0].label.isdecimal()
    pairs = [(text, text[::-1]) for text in TEXTS]
    translator = rnncli.train("translate", corpus=pairs, embedding=4, **small)
    assert translator.config.corpus == (rnncli.add_corpus(pairs),)  # type: ignore[attr-defined]


def test_history_is_a_dictionary_of_lists_with_a_curve(home: Path) -> None:
    history = train(validate_every=10).history
    assert isinstance(history, dict)
    assert len({len(each) for each in history.values()}) == 1
    assert history["perplexity"][history.best or 0] == min(value for value in history["perplexity"] if value)
    figure = history.plot()
    assert isinstance(figure, Figure)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss (nats per token)", "accuracy (%)"]
    (axes,) = history.plot("perplexity", against="epochs").axes
    assert list(axes.get_lines()[0].get_xdata()) == history["epoch"]
    with pytest.raises(UsageError, match="has no metric 'f1'"):
        history.plot("f1")
    with pytest.raises(UsageError, match="must be one of steps, seconds, epochs"):
        history.plot("loss", against="days")


def test_pictures_leave_the_backend_and_pyplot_as_they_are(home: Path) -> None:
    backend = mpl.rcParams._get_backend_or_none()  # type: ignore[attr-defined]  # `get_backend` would choose one
    pyplot = sys.modules.get("matplotlib.pyplot")
    known = [] if pyplot is None else pyplot.get_fignums()
    model = train()
    model.history.plot()
    model._repr_html_()
    assert mpl.rcParams._get_backend_or_none() == backend  # type: ignore[attr-defined]
    assert sys.modules.get("matplotlib.pyplot") is pyplot
    assert pyplot is None or pyplot.get_fignums() == known
    assert model.history.plot()._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]  # what notebooks show


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


NASTY = "<script>alert(1)</script>\x1b[31m"


def test_what_is_shown_is_short_and_nothing_in_it_acts(home: Path, tmp_path: Path) -> None:
    model = train(corpus={f"<b>{NASTY[:8]}\x1b[31m": TEXTS}, epochs=1)
    (run,) = rnncli.list_runs()
    assert run.load().source == model.source
    scored = model.score([f"the gate {NASTY}"])
    written = model.generate(length=100, count=3, seed=1)
    everything = [model, model.history, run, written, scored[0], model.evaluate(), model.activations(), model.vectors()]
    pages = {id(each): Page(each._repr_html_()) for each in everything if hasattr(each, "_repr_html_")}
    for each in everything:
        shown = repr(each)
        assert len(shown.splitlines()) <= 5
        assert max(map(len, shown.splitlines())) <= 210
        assert "\x1b" not in shown
    for page in pages.values():
        assert {*page.tags} <= {"div", "b", "table", "thead", "tbody", "tr", "th", "td", "img", "pre", "small"}
    for each in (model, run):
        assert "<b>" in pages[id(each)].text  # the corpus's name, as text
    for each in (model, model.history, run):
        assert pages[id(each)].tags.count("img") == 1


def test_comparison_has_a_row_per_net_and_continues(home: Path) -> None:
    options: dict[str, Any] = {**SMALL, "corpus": TEXTS, "epochs": 1}
    del options["hidden"]
    first = rnncli.compare("char-lm", cells=["elman", "gru"], sizes=[2], seeds=1, **options)
    assert [(row.cell, row.hidden) for row in first.rows] == [("elman", "2"), ("gru", "2")]
    again = rnncli.compare("char-lm", cells=np.array(["elman", "gru"]), sizes=np.array([2]), seeds=1, **options)
    assert [each.seconds for each in again.outcomes] == [each.seconds for each in first.outcomes]  # read, not trained
    assert len(repr(first).splitlines()) <= 5
    assert "±" not in repr(first)  # of one seed
    assert Page(first._repr_html_()).tags.count("img") == 1
    assert isinstance(first.plot(), Figure)
    with pytest.raises(UsageError, match="compare takes no cell: give cells"):
        rnncli.compare("parity", cell="gru")
    with pytest.raises(UsageError, match="compare takes a list of cells"):
        rnncli.compare("parity", cells=[])
    with pytest.raises(UsageError, match="cells must be a list of texts or classes or None, not 'gru'"):
        rnncli.compare("parity", cells="gru")
    with pytest.raises(UsageError, match="sizes must be a list of whole numbers"):
        rnncli.compare("parity", sizes="46")
    with pytest.raises(UsageError, match="parity has no option 'bit': did you mean 'bits'"):
        rnncli.compare("parity", bit=3)  # type: ignore[call-overload]


def test_counts_of_an_evaluation_are_shown_whole() -> None:
    found = Evaluation({"loss": 1.23456, "tokens": 123456})
    assert repr(found) == "Evaluation(loss=1.235, tokens=123456)"
    assert "<td>123456</td>" in found._repr_html_()


def test_runs_of_all_states_are_listed(home: Path) -> None:
    train(epochs=1)
    file = home / "checkpoints" / "char-lm" / "mine"
    for each in file.glob("*.safetensors"):
        each.write_bytes(b"damaged")
    (run,) = rnncli.list_runs()
    assert run.state == "unreadable"
    assert "unreadable" in repr(run)
    assert rnncli.list_runs("tag") == []


def test_embedded_corpora_need_no_download_and_unknown_ones_are_refused(home: Path) -> None:
    assert rnncli.get_data("hillside") == {"hillside": "needs no download"}
    with pytest.raises(UsageError, match="no corpus is named 'hilside': did you mean hillside"):
        rnncli.get_data("hillside", "hilside")


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.LAUNCHED, "1")
    with pytest.raises(UsageError, match=r"rnncli\.train works in one process"):
        rnncli.train("parity")
