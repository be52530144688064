"""Checkpoint files are whole or refused by name, never executed, never half-written."""

import json
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rnncli.files import write_file
from rnncli.training import checkpoint
from rnncli.training.checkpoint import SCHEMA, CheckpointError, to_bytes
from rnncli.training.runs import Run

pytestmark = pytest.mark.no_backend

HEADER = {"task": "toy", "note": 'quotes " and \\ and ünïcode', "numbers": [1, 2.5, None]}
TENSORS = {"model.w": torch.arange(6.0).reshape(2, 3), "random.torch": torch.arange(9, dtype=torch.uint8)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "last.safetensors"
    write_file(path, to_bytes(HEADER, TENSORS))
    return path


def test_reads_back_what_was_written(path: Path) -> None:
    found = checkpoint.read(path)
    assert found.header == {"schema": SCHEMA, **HEADER}
    assert checkpoint.read_header(path) == found.header
    assert found.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(found.tensors[name], TENSORS[name]) for name in TENSORS)
    assert len(found.sha256) == 64


def test_former_tensor_names_are_read_as_those_of_today(tmp_path: Path) -> None:
    data = to_bytes(HEADER, {"model.bridge.weight": torch.eye(2)})
    found = checkpoint.from_bytes(data, tmp_path / "old.safetensors")
    assert found.tensors.keys() == {"model.projection.weight"}


def test_any_flipped_bit_is_reported(path: Path) -> None:
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in (0, 5):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(bytes(damaged))
            with pytest.raises(CheckpointError, match=r"last\.safetensors"):
                checkpoint.read(path)


def test_any_truncation_is_reported(path: Path) -> None:
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"last\.safetensors"):
            checkpoint.read(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read(path)


class Bomb:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("executed",)


def test_pickle_is_refused_and_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in (2, 5):
        Path("evil.safetensors").write_bytes(pickle.dumps(Bomb(), protocol))
        with pytest.raises(CheckpointError, match="is a pickle, which can run code"):
            checkpoint.read(Path("evil.safetensors"))
    torch.save({"bomb": Bomb()}, "evil.pt")
    with pytest.raises(CheckpointError, match="is a pickle, which can run code"):
        checkpoint.read(Path("evil.pt"))
    assert not Path("executed").exists()


def test_other_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    unknown = tmp_path / "other"
    for content in (b"", b"hello", b"\xff" * 100, struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 4) + b"null"):
        unknown.write_bytes(content)
        with pytest.raises(CheckpointError, match="other is not a checkpoint of rnn"):
            checkpoint.read(unknown)
    save_file({"w": torch.zeros(2)}, unknown, {"format": "pt"})
    with pytest.raises(CheckpointError, match="other is a safetensors file, but not a checkpoint of rnn"):
        checkpoint.read(unknown)
    with pytest.raises(CheckpointError, match="absent is not there"):
        checkpoint.read(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="is not a file"):
        checkpoint.read(tmp_path)


def test_newer_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr(checkpoint, "SCHEMA", SCHEMA + 1)
        newer = to_bytes(HEADER, TENSORS)
    (tmp_path / "newer").write_bytes(newer)
    with pytest.raises(CheckpointError, match=f"was written by a newer rnn .schema {SCHEMA + 1}, .* update rnn"):
        checkpoint.read(tmp_path / "newer")


@pytest.mark.parametrize("part", ["schema", "reading"])
def test_a_rule_that_is_no_number_is_refused(part: str, tmp_path: Path) -> None:
    metadata = {"header": json.dumps({"schema": SCHEMA, **HEADER, part: "3"}), "sha256": "0" * 64}
    save_file(TENSORS, tmp_path / "odd", metadata)
    with pytest.raises(CheckpointError, match="odd is damaged: its header cannot be read"):
        checkpoint.read_header(tmp_path / "odd")


def test_previous_checkpoint_is_kept(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for number in range(3):
        run.save(to_bytes({"number": number}, TENSORS))
    assert checkpoint.read(tmp_path / "last.safetensors").header["number"] == 2
    assert checkpoint.read(tmp_path / "previous.safetensors").header["number"] == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.safetensors", "previous.safetensors"]


def test_previous_checkpoint_is_kept_on_a_disk_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    test_previous_checkpoint_is_kept(tmp_path)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from rnncli.errors import RnnError
from rnncli.files import write_file
from rnncli.training import checkpoint

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    path = Path(sys.argv[1])
    write_file(path, checkpoint.to_bytes({}, {"big": torch.zeros(4096)}), previous=path.with_name("previous"))
except RnnError as error:
    print(error)
"""


@pytest.mark.posix("limits on the size of files")
def test_full_disk_leaves_the_files_unchanged(path: Path) -> None:
    """The child may write no file above 4 kB, as if the disk were full."""
    before = path.read_bytes()
    child = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert child.stdout.startswith(f"cannot save {path}: ")
    assert child.stdout.endswith("what was saved before is untouched\n")
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_header_length_is_never_mistaken_for_a_pickle(tmp_path: Path) -> None:
    """A safetensors file begins with its header's length: 0x80 there was once mistaken for a pickle's first byte."""
    for extra in range(256):
        write_file(tmp_path / "each", to_bytes({"extra": "x" * extra}, TENSORS))
        assert checkpoint.read(tmp_path / "each").header["extra"] == "x" * extra


SAVER = """
import os, sys
import filelock  # else every child imports it before its first save
import torch
from pathlib import Path
from rnncli.training.checkpoint import to_bytes
from rnncli.training.runs import Run

run = Run(Path(sys.argv[1]))
print("ready", flush=True)
for first in sys.stdin:
    pid = os.fork()
    if pid == 0:
        with run.locked():
            number = int(first)
            while True:
                number += 1
                run.save(to_bytes({"number": number}, {"w": torch.full((5000,), float(number))}))
                run.save_best(to_bytes({"number": number}, {"w": torch.full((5000,), float(number))}))
    print(pid, flush=True)
"""


@pytest.mark.posix("forks")
def test_kill_9_always_leaves_a_sound_checkpoint(tmp_path: Path) -> None:
    run, generator = Run(tmp_path / "run"), random.Random(4)
    run.folder.mkdir()
    began = time.perf_counter()
    for _ in range(5):
        run.save(to_bytes({"number": 0}, {"w": torch.zeros(5000)}))
    a_save = (time.perf_counter() - began) / 5  # slow where the machine is busy
    with subprocess.Popen(
        [sys.executable, "-c", SAVER, str(run.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as saver:
        assert saver.stdin is not None
        assert saver.stdout is not None
        assert saver.stdout.readline() == "ready\n"
        numbers, strays = [], 0
        for first in range(0, 50_000, 1_000):
            saver.stdin.write(f"{first}\n")
            saver.stdin.flush()
            child = int(saver.stdout.readline())
            wanted = first + generator.randrange(4)  # complete saves before the kill
            while wanted > first and checkpoint.read(run.folder / "last.safetensors").header["number"] < wanted:
                time.sleep(0.001)
            time.sleep(generator.uniform(0, 4) * a_save)
            os.kill(child, signal.SIGKILL)
            while _is_running(child):
                time.sleep(0.001)
            strays += len(list(run.folder.glob("*.tmp")))
            for file in run.folder.glob("*.safetensors"):
                found = checkpoint.read(file)
                assert (found.tensors["w"] == found.header["number"]).all()
                numbers.append(found.header["number"])
            assert (run.folder / "last.safetensors").exists()
        saver.stdin.close()
    assert max(number % 1_000 for number in numbers) > 1  # the children did save
    assert strays > 0  # and some were killed during a save
    with run.locked():
        assert not list(run.folder.glob("*.tmp"))


def _is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_header_is_json_in_a_plain_safetensors_file(path: Path) -> None:
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    metadata = json.loads(data[8 : 8 + size])["__metadata__"]
    assert json.loads(metadata["header"])["task"] == "toy"
