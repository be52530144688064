"""The home: the nearest folder that rnn has written to, and what the messages say of it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnncli import home as homes
from rnncli.home import MARKER, begin, checkpoints_dir, data_dir, home, mark
from rnncli.training.runs import Run

pytestmark = pytest.mark.no_backend

FIXTURE = Path(__file__).parent / "checkpoints" / "parity-solved" / "best.safetensors"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a folder `a/b` in it, which is the working folder; RNN_HOME is not set."""
    monkeypatch.delenv("RNN_HOME", raising=False)
    monkeypatch.delenv("RNN_DEBUG", raising=False)
    monkeypatch.setattr(homes, "MARKER", f".{tmp_path.name}")  # no marker above this folder counts
    monkeypatch.setattr(homes, "_user", lambda: tmp_path / "user")
    (tmp_path / "project" / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "a" / "b")
    begin(lambda _: None)
    return tmp_path / "project"


def add_run(folder: Path, name: str = "bits", file: str = "best.safetensors") -> Path:
    """Copy a run of an earlier version, without a marker."""
    run = folder / "checkpoints" / "parity" / name
    run.mkdir(parents=True)
    shutil.copyfile(FIXTURE, run / file)
    return run


def marked(folder: Path) -> Path:
    folder.mkdir(parents=True)
    mark(folder)
    return folder.parent


def test_without_a_marker_the_home_is_the_working_folder(project: Path) -> None:
    (project / "data").mkdir()  # of the user
    (project / "data" / "poems.txt").write_text("the gate\n")
    assert (home(), data_dir(), checkpoints_dir()) == (Path(), Path("data"), Path("checkpoints"))


@pytest.mark.parametrize("kind", ["data", "checkpoints"])
def test_the_nearest_marked_folder_is_the_home(kind: str, project: Path) -> None:
    marked(project / kind)
    announced: list[Path] = []
    begin(announced.append)
    assert home() == project
    assert data_dir() == project / "data"
    assert announced == [project]
    marked(project / "a" / kind)
    begin(announced.append)
    assert home() == project / "a"


def test_the_working_folder_comes_first_and_is_not_announced(project: Path) -> None:
    marked(project / "checkpoints")
    marked(project / "a" / "b" / "data")
    begin(lambda folder: pytest.fail(str(folder)))
    assert home() == Path()


def test_runs_of_earlier_versions_make_a_home(project: Path) -> None:
    add_run(project)
    begin(lambda _: None)
    assert home() == project


def test_foreign_checkpoints_make_no_home(project: Path) -> None:
    foreign = project / "a" / "b" / "checkpoints" / "some-model" / "step-100"
    foreign.mkdir(parents=True)
    (foreign / "model.safetensors").write_bytes(b"of another program")
    add_run(project)
    begin(lambda _: None)
    assert home() == project


def test_rnn_home_comes_before_every_marker(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marked(project / "checkpoints")
    monkeypatch.setenv("RNN_HOME", ".")
    begin(lambda folder: pytest.fail(str(folder)))
    assert home() == Path()


def test_the_users_directory_is_a_home_only_if_it_is_marked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes, "_user", lambda: project)
    add_run(project)
    begin(lambda _: None)
    assert home() == Path()
    mark(project / "checkpoints")
    begin(lambda _: None)
    assert home() == project


@pytest.mark.posix("symbolic links for everyone")
def test_links_are_followed_and_parents_are_those_on_disk(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = project.parent / "disk" / "runs"
    marked(elsewhere)
    (project / "checkpoints").symlink_to(elsewhere)
    (project.parent / "link").symlink_to(project / "a")
    monkeypatch.chdir(project.parent / "link")
    begin(lambda _: None)
    assert home() == project


def test_the_search_ends_at_another_file_system(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marked(project / "checkpoints")
    here, stat = Path.cwd(), Path.stat

    class Other:
        st_dev = -1

    monkeypatch.setattr(Path, "stat", lambda self, **options: Other() if self == here else stat(self, **options))
    begin(lambda _: None)
    assert home() == Path()


def test_a_deleted_working_folder_is_its_own_home(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "cwd", gone)
    assert home() == Path()


@pytest.mark.posix("permissions of folders")
def test_a_folder_that_cannot_be_written_stays_unmarked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    (project / "data").mkdir()
    monkeypatch.setattr(Path, "open", refuse)
    mark(project / "data")
    assert list((project / "data").iterdir()) == []


def test_a_run_that_is_written_marks_the_folder_of_runs(project: Path) -> None:
    with Run(checkpoints_dir() / "parity" / "mine").locked():
        assert (project / "a" / "b" / "checkpoints" / homes.MARKER).is_file()
    assert MARKER == ".rnn"


@pytest.mark.usefixtures("project")
def test_a_verb_in_a_folder_below_finds_the_run_and_says_where(project: Path, capsys: Any) -> None:
    from rnncli.__main__ import run

    add_run(project)
    assert run(["inspect", "bits", "--json"]) == 0
    shown = capsys.readouterr()
    assert str(project / "checkpoints" / "parity" / "bits") in shown.out
    assert shown.err == f"home {project}: the nearest folder that rnn has written to (RNN_HOME=. means this one)\n"


def test_messages_name_the_folder_that_was_searched(rnn: Callable[[str], Any], home: Path) -> None:
    runs = home / "checkpoints"
    for words, complaint in (
        ("generate poetry", f"there is no model of poetry-lm in {runs} yet: run `rnn train poetry-lm` first"),
        ("inspect", f"there is no run in {runs} yet: run `rnn train TASK` first"),
        ("inspect bits", f"there is no run 'bits' in {runs}: `rnn runs` lists them"),
        ("train parity --resume", f"no run of parity in {runs} is unfinished: `rnn train parity` starts a new one"),
        ("runs", f"no runs in {runs} yet: `rnn train parity` makes one"),
        ("train poetry-lm --corpus frost", f"(looked in {home / 'data'})"),
        ("train wiki-lm --corpus mine", f"no corpus, file or folder is named 'mine' in {Path.cwd()}: "),
        ("analogy a b c --vectors glove", f"no file of word vectors is named 'glove', and none in {home / 'data'}"),
    ):
        ran = rnn(words)
        assert complaint in ran.err, words
        assert ran.err.count("\n") == 1, words


def test_a_wrong_name_of_a_run_gets_a_suggestion(rnn: Callable[[str], Any], home: Path) -> None:
    add_run(home, "bits-of-12")
    ran = rnn("inspect bits-of-13")
    assert f"there is no run 'bits-of-13' in {home / 'checkpoints'}: did you mean 'bits-of-12'? `rnn runs`" in ran.err
