"""Windows and macOS: emulated refusals, narrow encodings, and invalid names of folders."""

import errno
import io
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnncli import files
from rnncli.__main__ import run
from rnncli.data.cached_folder import cached_folder
from rnncli.errors import RnnError, UsageError, ending_signals
from rnncli.files import check_name, is_locked, locked, write_file
from rnncli.wikipedia.results import put
from rnncli.wikipedia.workers import default_workers, run_jobs

CHECKPOINTS = Path(__file__).parent / "checkpoints"


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules of Windows."""
    if os.name == "nt":
        return
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc, to see which files are open")
    from support.windows import emulate

    emulate(monkeypatch, tmp_path)


def test_the_emulation_refuses_what_windows_refuses(windows: None, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    file = tmp_path / "folder/file"
    file.touch()
    with file.open("rb") as opened:
        for refused in (
            lambda: os.fsync(opened.fileno()),
            lambda: os.open(tmp_path, os.O_RDONLY),
            lambda: file.rename(tmp_path / "other"),
            lambda: (tmp_path / "folder").rename(tmp_path / "other"),
            file.unlink,
        ):
            with pytest.raises(OSError, match=r"denied|descriptor") as raised:
                refused()
            assert raised.value.errno in (errno.EBADF, errno.EACCES)
    file.rename(tmp_path / "other")


PREPARED = "data prepare {0}/text --name mini --text {0}/clean --workers 1"
COMMANDS = {
    "prepare": (PREPARED, PREPARED),
    "train": (
        "train parity --epochs 2 --validate-every 1 --name a",
        "train parity --resume --name a --epochs 3",
        "runs delete parity/a --yes",
    ),
    "numbered": ("train char-lm --corpus {0}/text --tokens word --hidden 4 --embedding 4 --epochs 1 --name b",) * 1,
}


@pytest.mark.parametrize("what", COMMANDS)
def test_no_file_is_moved_or_removed_while_it_is_open(
    what: str, windows: None, rnn, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnncli.data.token_text.LARGE", 100)
    (tmp_path / "text").write_text("Words and more words.\n" * 60, encoding="utf-8")
    for command in COMMANDS[what]:
        ran = rnn(command.format(tmp_path))
        assert ran.code == 0, ran.err
    assert not list(home.rglob("*.tmp"))
    assert not list(home.rglob("*.part"))
    assert not list(home.rglob(".*.lock"))


def test_locks_where_no_open_file_can_be_removed(windows: None, tmp_path: Path) -> None:
    thing, lock = tmp_path / "thing", tmp_path / ".thing.lock"
    with locked(thing, "busy"):
        assert is_locked(thing)
        with pytest.raises(RnnError, match=r"^busy$"), locked(thing, "busy"):
            pytest.fail("held twice")
        reader = os.open(lock, os.O_RDWR)  # another process checks, or waits, as this one ends
    assert not is_locked(thing)
    assert lock.exists()
    os.close(reader)
    with locked(thing, "busy"):
        assert is_locked(thing)
    assert not lock.exists()


def test_lock_waits_for_a_lock_file_under_removal(
    windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows denies access to a removed file until its last handle is closed."""
    denied, opened = [1] * 5, os.open

    def denying(path: Path, *rest: int) -> int:
        if denied:
            denied.pop()
            raise PermissionError(errno.EACCES, "Access is denied", path)
        return opened(path, *rest)

    monkeypatch.setattr(os, "open", denying)
    with locked(tmp_path / "thing", "busy"):
        assert is_locked(tmp_path / "thing")


def written(target: Path) -> None:
    write_file(target, b"new")


def moved(target: Path) -> None:
    source = target.with_name("new")
    source.mkdir()
    put(source, target)


def made(target: Path) -> None:
    cached_folder(target, lambda folder: None, lambda folder: (folder / "file").touch())


@pytest.mark.parametrize("write", [written, moved, made])
def test_a_target_that_another_program_has_open_is_one_line(
    write: Callable[[Path], None], windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, "Access is denied", self)

    monkeypatch.setattr(Path, "replace", denied)
    monkeypatch.setattr(files, "POSIX", False)
    with pytest.raises(RnnError, match=r"Access is denied \(another program may have it open: close it there\)"):
        write(tmp_path / "target")
    assert not list(tmp_path.glob("*.tmp"))


def test_a_target_that_is_open_for_a_moment_is_replaced(
    windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied, replace = [1] * 5, Path.replace

    def late(self: Path, target: Path) -> Path:
        if denied:
            denied.pop()
            raise PermissionError(errno.EACCES, "Access is denied", self)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", late)
    written(tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"new"


def test_ctrl_break_ends_as_ctrl_c_does_where_there_is_no_hang_up(windows: None) -> None:
    from rnncli.training.interrupts import noted_interrupts

    number = getattr(signal, "SIGBREAK")  # noqa: B009 - typeshed has it for Windows only
    assert set(ending_signals()) == {signal.SIGINT, signal.SIGTERM, number}
    with noted_interrupts() as interrupts:
        signal.raise_signal(number)
    assert interrupts.received == number


@pytest.mark.parametrize(
    "name",
    ["con", "Aux.txt", "NUL", "com1", "lpt³", "conin$", "a.", "a ", " a", "a:b", "a?", "a|b", 'a"b', "a\\b", "."],
)
def test_names_that_windows_refuses_are_refused_everywhere(name: str) -> None:
    with pytest.raises(UsageError, match=r"^--name '.*' cannot be a folder's name: "):
        check_name(name)


def test_all_verbs_refuse_invalid_names(rnn, home: Path) -> None:
    for command in ("train parity", "data prepare x", "compare parity", f"embeddings import {__file__}"):
        assert (
            "--name 'con.x' cannot be a folder's name: on Windows con is a device" in rnn(f"{command} --name con.x").err
        )
    assert not list(home.iterdir())


@pytest.mark.parametrize("name", ["console", "com10", "aux-2", "né 2", "v1.2", ".hidden", "a+b,c=d"])
def test_other_names_are_accepted(name: str) -> None:
    check_name(name)


def encoded(monkeypatch: pytest.MonkeyPatch, encoding: str) -> Callable[[], str]:
    """Give both streams a strict encoding; returns a function that reads the output."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    return lambda: (sys.stdout.flush(), raw.getvalue().decode(encoding))[1]


SHOWN = {
    f"score --from {CHECKPOINTS}/bytes/last.safetensors 'naïve → 日本'": "\\u65e5",
    f"inspect {CHECKPOINTS}/bytes/last.safetensors": "char-lm",
    "train parity --epochs 1 --name mañana→": "\\u2192",
    "--help": "Train, use and explain",
    "data list": "hillside",
}


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_characters_that_an_encoding_lacks_are_escaped(
    encoding: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command, shown in SHOWN.items():
        output = encoded(monkeypatch, encoding)
        assert run(shlex.split(command)) == 0
        assert shown in output()


def test_pipes_of_windows_are_utf_8(windows: None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252"))
    path = CHECKPOINTS / "bytes/last.safetensors"
    assert run(["score", "--from", str(path), "naïve → 日本"]) == 0
    assert "naïve → 日本" in raw.getvalue().decode("utf-8")


def test_a_closed_pipe_of_windows_ends_quietly(
    windows: None, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """There, a write to it fails with EINVAL, not EPIPE."""

    class Closed(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            if closed:
                raise OSError(errno.EINVAL, "Invalid argument")
            return len(data)

        def fileno(self) -> int:
            return handle

    closed = [True]
    with (home / "output").open("wb") as output:
        handle = output.fileno()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Closed()), encoding="utf-8"))
        assert run(["data", "list"]) == 141
        closed.clear()
        sys.stdout.close()
    assert capfd.readouterr().err == ""


def test_worker_that_dies_silently_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, the other end of its pipe stays open."""
    from multiprocessing import connection

    kept = []
    monkeypatch.setattr(connection.Connection, "close", lambda self: kept.append(self))
    with pytest.raises(RnnError, match="a worker process was killed"):
        list(run_jobs(iter([3]), os._exit, 2, lambda: None))
    monkeypatch.undo()
    for end in kept:
        end.close()


def test_one_worker_if_the_system_reports_no_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_workers() == 1
