"""Private features of torch are optional: each test removes one, and the code works without it."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

import rnncli
from rnncli.cells import make_cell
from rnncli.errors import RnnError
from rnncli.kernels import fused, matmul
from rnncli.kernels.matmul import fast_matmul, repeated_matmul, small_matmul
from rnncli.kernels.scan import scan
from rnncli.training import distributed, machine
from rnncli.training.machine import is_out_of_memory, matmul_policy

OWN = {"_asdict", "_replace", "_fields", "_exit"}
"""Public names of the standard library that begin with an underscore."""


def private_uses(program: str) -> list[str]:
    """Private attributes of torch, and imports of them, without `getattr` and a fallback."""
    found, of_modules = [], vars(nn.Module())
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "torch":
            found += [each for each in (*node.module.split("."), *(a.name for a in node.names)) if each[0] == "_"]
        if isinstance(node, ast.Attribute) and node.attr not in OWN and re.match("_[^_]", node.attr):
            whole = ast.unparse(node)
            if node.attr in of_modules or whole.partition(".")[0] in ("torch", "dist", "nn", "F"):
                found.append(whole)
    return found


def test_private_names_of_torch_have_a_fallback() -> None:
    assert private_uses("torch._C._x(); from torch._dynamo import y; self._parameters; self._mine") != []
    files = [*Path(rnncli.__file__).parent.rglob("*.py")]
    assert len(files) > 100
    assert {file.name: uses for file in files if (uses := private_uses(file.read_text(encoding="utf-8")))} == {}


def test_missing_switch_leaves_matmuls_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(20, 30), torch.randn(30, 40)
    for settings in (None, SimpleNamespace()):
        monkeypatch.setattr(matmul, "_SETTINGS", settings)
        matmul._onednn_is_exact.cache_clear()
        for suited in (fast_matmul, small_matmul, lambda: matmul_policy(nn.Linear(2, 2), "float32")):
            with suited():
                torch.testing.assert_close((a @ b).double(), a.double() @ b.double(), rtol=1e-5, atol=1e-5)
    matmul._onednn_is_exact.cache_clear()


def test_cudnn_without_its_own_switch_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    without = SimpleNamespace()
    for layers in (without, None):
        monkeypatch.setattr(torch.backends.cudnn, "rnn", layers)
        with matmul_policy(nn.Linear(2, 2)):
            assert torch.backends.cudnn.rnn is layers
    assert vars(without) == {}


def test_plain_matmul_is_used_without_packed_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "_PACK", None)
    matmul._packs.cache_clear()
    x, weight = torch.randn(7, 30), torch.randn(30, 40)
    torch.testing.assert_close(repeated_matmul(weight, 7, 100)(x), x @ weight)
    matmul._packs.cache_clear()


@pytest.mark.skipif(bool(fused.trouble()), reason="waits for numba")
@pytest.mark.parametrize("gone", ["_autograd", "_autograd._get_current_graph_task_keep_graph"])
def test_unknown_graph_state_is_assumed_to_be_kept(gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncli.kernels.engine.scan.SMALL", 0)
    monkeypatch.setattr("rnncli.kernels.engine.scan.SMALL_AND_SHORT", 0)
    cell: Any = make_cell("lstm", 3, 5)
    outputs, _ = scan(cell, torch.randn(4, 2, 3), cell.initial_state(2), backend="fused")
    wanted = torch.autograd.grad(outputs.sum(), cell.weight_h, retain_graph=True)[0]
    place, _, name = gone.rpartition(".")
    owner = getattr(torch._C, place) if place else torch._C
    with monkeypatch.context() as patched:
        patched.delattr(owner, name)
        found = [torch.autograd.grad(outputs.sum(), cell.weight_h, retain_graph=True)[0] for _ in range(2)]
    assert torch.equal(found[0], wanted)
    assert torch.equal(found[1], wanted)


def test_weight_drop_restores_the_cell() -> None:
    """The view finds another Wh under the parameter's name, which torch keeps in its own table."""
    cell: Any = make_cell("gru", 3, 5)
    names = dict(cell.named_parameters())
    dropped = cell.with_weight_drop(0.5)
    assert not isinstance(dropped.weight_h, nn.Parameter)
    assert dropped.weight_x is cell.weight_x
    assert {name: id(each) for name, each in cell.named_parameters()} == {name: id(names[name]) for name in names}


def test_group_is_left_if_torch_renames_its_reducer(monkeypatch: pytest.MonkeyPatch) -> None:
    known, other = SimpleNamespace(reducer=1, logger=2), SimpleNamespace(engine=3)
    left = []
    monkeypatch.setattr(distributed, "_reduced_losses", [known, other])
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: left.append(True))
    distributed._leave()
    assert (vars(known), vars(other), left) == ({"reducer": None, "logger": None}, {"engine": 3}, [True])


@pytest.mark.parametrize(
    ("text", "is_recognised"),
    [("[gloo/transport/tcp/pair.cc:534] Connection closed by peer", True), ("Connection reset by peer", True),
     ("mat1 and mat2 shapes cannot be multiplied", False)],
)  # fmt: skip
def test_end_of_another_process_is_recognised_by_its_message(
    text: str, is_recognised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without torch's own error class; unknown errors pass through, and the group is left."""
    monkeypatch.delattr(dist, "DistError")
    monkeypatch.setenv(distributed.LAUNCHED, "run")
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    left = []
    monkeypatch.setattr(distributed, "meet", lambda note: "1")
    monkeypatch.setattr(distributed, "store_part", lambda name: None)
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(distributed.signal, "signal", lambda *_: None)
    monkeypatch.setattr(distributed, "_leave", lambda: left.append(True))
    with pytest.raises(RuntimeError if not is_recognised else RnnError) as raised, distributed.together():
        raise RuntimeError(text)
    assert left == [True]
    assert (
        str(raised.value) == text
        if not is_recognised
        else "another process of this training has ended" in str(raised.value)
    )


def test_every_out_of_memory_error_of_torch_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**55, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Arena 7: nothing left for 4611686018427387904 bytes\nat the top")

    machine._allocator_says.cache_clear()
    monkeypatch.setattr(torch, "empty", fail)
    assert is_out_of_memory(RuntimeError("Arena 12: nothing left for 1000 bytes\nelsewhere"))
    assert not is_out_of_memory(RuntimeError("Arena 12: nothing is wrong"))
    machine._allocator_says.cache_clear()
