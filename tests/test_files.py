"""Atomic files, and locks that end with their process and leave nothing behind."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from rnncli import files
from rnncli.errors import RnnError
from rnncli.files import is_locked, locked, write_file


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_file_in_the_place_of_the_folder_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("mine")
    with pytest.raises(RnnError, match=r"text.x: Not a directory;"):
        write_file(tmp_path / "text" / "x", b"")


@pytest.mark.posix("links that all may make, and open folders that can be renamed")
def test_a_lock_has_one_owner_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "thing").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "thing")
    assert not is_locked(tmp_path / "thing")
    assert names(tmp_path) == ["alias", "thing"]
    with locked(tmp_path / "thing", "busy"):
        assert is_locked(tmp_path / "alias")
        with pytest.raises(RnnError, match=r"^busy$"), locked(tmp_path / "alias", "busy"):
            pytest.fail("held twice")
        (tmp_path / "thing").rename(tmp_path / "moved")
        assert is_locked(tmp_path / "thing")
    assert not is_locked(tmp_path / "thing")
    assert names(tmp_path) == ["alias", "moved"]


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time; from rnncli.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), 'busy'): print('held', flush=True); time.sleep(60)"
    )
    thing = tmp_path / "thing"
    with subprocess.Popen([sys.executable, "-c", program, thing], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(RnnError, match=r"^busy$"), locked(thing, "busy"):
            pytest.fail("held twice")
        owner.kill()
    assert names(tmp_path) == [".thing.lock"]
    assert not is_locked(thing)
    with locked(thing, "busy"):
        pass
    assert names(tmp_path) == []


@pytest.mark.posix("open files that can be removed")
def test_a_lock_file_removed_by_its_owner_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking the file, its owner removes it, and a third process makes a new one."""
    lock, file, third = filelock.lock_descriptor, tmp_path / ".thing.lock", []

    def late(handle: int, *, blocking: bool) -> bool:
        if not third:
            file.unlink()
            third.append(os.open(file, os.O_RDWR | os.O_CREAT))
            assert lock(third[0], blocking=False)
        return lock(handle, blocking=blocking)

    monkeypatch.setattr(filelock, "lock_descriptor", late)
    with pytest.raises(RnnError, match=r"^busy$"), locked(tmp_path / "thing", "busy"):
        pytest.fail("held twice")
    os.close(third[0])


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_to_has_no_locks(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, *_: object) -> int:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(os, "open", refused)
    with locked(tmp_path / "thing", "busy", wait=True):
        assert not is_locked(tmp_path / "thing")
    monkeypatch.undo()
    assert names(tmp_path) == []


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(handle: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock, "lock_descriptor", refused)
    with locked(tmp_path / "thing", "busy"), locked(tmp_path / "thing", "busy", wait=True):
        assert not is_locked(tmp_path / "thing")


def test_concurrent_writers_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: the other one writes while this one is about to rename, and both had the same temporary name."""
    file, sync = tmp_path / "page.html", os.fsync

    def meanwhile(handle: int) -> None:
        monkeypatch.setattr(files.os, "fsync", sync)
        write_file(file, b"another")
        assert file.read_bytes() == b"another"

    monkeypatch.setattr(files.os, "fsync", meanwhile)
    write_file(file, b"mine")
    assert file.read_bytes() == b"mine"
    assert names(tmp_path) == ["page.html"]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX syncs folders")
def test_file_is_renamed_only_after_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power may fail between any two calls: data is synced before its name, and each new folder's name is synced."""
    calls: list[str] = []
    sync, rename, make = os.fsync, Path.replace, Path.mkdir

    def note_sync(handle: int) -> None:
        whole = os.fstat(handle)
        folders = [each for each in (tmp_path, *tmp_path.rglob("*")) if each.is_dir()]
        calls.append(
            next((f"sync {each.name}" for each in folders if os.path.samestat(each.stat(), whole)), "sync data")
        )
        sync(handle)

    def note_rename(path: Path, target: Path) -> Path:
        calls.append(f"rename to {target.name}")
        return rename(path, target)

    def note_make(path: Path, *positional: object, **keywords: object) -> None:
        calls.append(f"make {path.name}")
        make(path, *positional, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_rename)
    monkeypatch.setattr(Path, "mkdir", note_make)
    file = tmp_path / "task" / "run" / "last"
    write_file(file, b"first", previous=file.with_name("previous"))
    folders = ["make task", f"sync {tmp_path.name}", "make run", "sync task"]
    assert calls == [*folders, "sync data", "rename to last", "sync run"]
    calls.clear()
    write_file(file, b"second", previous=file.with_name("previous"))
    assert calls == ["sync data", "rename to previous", "rename to last", "sync run"]
    assert [file.read_bytes(), file.with_name("previous").read_bytes()] == [b"second", b"first"]
