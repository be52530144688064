"""Reduced precision: types, gradient errors and the loss scale, with CPU autocast in place of CUDA's."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from support.kinds import KINDS, OF_TORCH
from torch.utils._pytree import tree_leaves

from rnncli.api import Training
from rnncli.cells import make_cell
from rnncli.data import dates
from rnncli.data.corpora import CORPORA
from rnncli.data.sources import Generated
from rnncli.errors import UsageError
from rnncli.kernels import precision
from rnncli.kernels.matmul import fast_matmul, small_matmul
from rnncli.kernels.precision import forward_pass, training_precision, type_of_factors, using
from rnncli.kernels.scan import scan
from rnncli.kernels.torch_layers import TorchForm, torch_form
from rnncli.models.stack import Stack, StackShape
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training import loop, machine
from rnncli.training.loop import NotFinite
from rnncli.training.loss_scale import MAX_SCALE, MIN_SCALE, PATIENCE, LossScale

T, B, D, M = 12, 16, 24, 32
ERRORS = {"float32": 1e-5, "tf32": 2e-3, "float16": 2e-3, "bfloat16": 2e-2}
"""Norm-wise, of gradients against float64; a factor is off by up to 2^-24, 2^-11, 2^-11 and 2^-8."""


def gradients(kind: str, backend: str, device: str, inside: Callable[[], AbstractContextManager[Any]]) -> list[Any]:
    """Return outputs, last state and the gradients of a layer and its inputs, all in float32."""
    torch.manual_seed(3)
    cell: Any = make_cell(kind, D, M)
    x = torch.randn(T, B, D)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, 0.7 / M**0.5)
    dtype = torch.float64 if backend == "exact" else torch.float32
    cell, x = cell.to(device, dtype), x.to(device, dtype).requires_grad_()
    with training_precision():
        with inside():
            outputs, last = scan(
                cell, x, cell.initial_state(B), torch.arange(B) % T + 1, "reference" if backend == "exact" else backend
            )
            loss = outputs.square().sum() + sum(field.sum() for field in last)
        loss.backward()
    found = [outputs, *last, x.grad, *(each.grad for each in cell.parameters() if each.requires_grad)]
    assert {each.dtype for each in found} == {dtype}
    return [each.detach().cpu().double() for each in found]


def slack(kind: str) -> int:
    """Positive candidates have a kink at 0: rounding across it changes a slope from 1/4 to 1."""
    return 3 if kind.endswith(":positive") else 1


def error(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    return max(float((one - other).norm() / other.norm()) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_autocast_rounds_only_matmuls(kind: str, name: str) -> None:
    """On the CPU in place of CUDA: the same types go through the same scan."""
    wanted = gradients(kind, "exact", "cpu", lambda: torch.autocast("cpu", enabled=False))
    found = gradients(kind, "reference", "cpu", lambda: torch.autocast("cpu", precision.HALVES[name]))
    assert 1e-5 < error(found, wanted) < ERRORS[name] * slack(kind)


@pytest.mark.parametrize("kind", ["gru:reset-before", "lstm:full"])
def test_triton_under_autocast_rounds_like_the_reference(kind: str) -> None:
    pytest.importorskip("triton", reason="waits for triton, which installs only on Linux")
    if torch.cuda.is_available():
        pytest.skip("kernels are compiled for the card: the test marked cuda is of them")
    wanted = gradients(kind, "exact", "cpu", lambda: torch.autocast("cpu", enabled=False))
    found = gradients(kind, "triton", "cpu", lambda: torch.autocast("cpu", torch.float16))
    assert 1e-5 < error(found, wanted) < 2 * ERRORS["float16"]


@pytest.mark.parametrize("kind", OF_TORCH)
def test_torch_layers_follow_autocast(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, torch's autocast makes cuDNN's layers float16 in bfloat16 too, whose range a loss may need."""
    cell: Any = make_cell(kind, D, M)
    form: Any = torch_form(cell)
    seen: list[Any] = []

    def function(*values: Any) -> Any:
        seen.extend(each.dtype for each in tree_leaves(values) if torch.is_tensor(each) and each.is_floating_point())
        seen.append(torch.is_autocast_enabled("cpu"))
        return form.function(*values)

    monkeypatch.setattr("rnncli.kernels.scan.torch_form", lambda _: TorchForm(function, form.weights))
    x, lengths = torch.randn(T, B, D), torch.arange(B) % T + 1
    for ends in (None, lengths):
        for given in (x, x.bfloat16()):
            with torch.autocast("cpu", torch.bfloat16):
                outputs, last = scan(cell, given, cell.initial_state(B), ends, "torch")
            assert {each.dtype for each in (outputs, *last)} == {torch.float32}
    assert set(seen) == {torch.bfloat16, False}


@pytest.mark.cuda
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize(
    ("kind", "backend"),
    [*product(KINDS, ("reference",)), *product(KINDS, ("triton",)), *product(OF_TORCH, ("torch",))],
)
def test_cuda_errs_by_its_rounding(kind: str, backend: str, name: str) -> None:
    if precision.trouble(name, "cuda"):
        pytest.skip(precision.trouble(name, "cuda"))
    wanted = gradients(kind, "exact", "cpu", lambda: forward_pass("cpu"))
    with using(name):
        found = gradients(kind, backend, "cuda", lambda: forward_pass("cuda"))
    assert error(found, wanted) < 2 * ERRORS[name] * slack(kind)


def switches() -> list[Any]:
    matmul, layers = torch.backends.cuda.matmul, torch.backends.cudnn.rnn
    sums = matmul.allow_fp16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction
    return [matmul.fp32_precision, layers.fp32_precision, *sums]


def test_switch_is_set_and_restored() -> None:
    before = switches()
    exact = ["ieee", "ieee", False, False]
    for name in ("float32", "tf32", "bfloat16", "float16"):
        with fast_matmul(name):
            assert switches() == exact  # nothing is rounded outside training
            with training_precision():
                assert switches() == (["tf32", "tf32", False, False] if name == "tf32" else exact)
                with small_matmul(), training_precision():
                    assert (precision.in_use(), switches()) == ("float32", exact)
                assert precision.in_use() == name
    with pytest.raises(ZeroDivisionError), fast_matmul("tf32"), training_precision():
        _ = 1 / 0
    assert (precision.in_use(), switches()) == ("float32", before)
    assert before[2:] == [True, True]  # torch's defaults, which would round sums


def test_autocast_is_used_only_for_halves_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = []
    monkeypatch.setattr(torch, "autocast", lambda *what: entered.append(what))
    for name in ("float32", "tf32", "bfloat16", "float16"):
        for device in ("cpu", "cuda"):
            with using(name):
                forward_pass(device)
    assert entered == [("cuda", torch.bfloat16), ("cuda", torch.float16)]


def test_chooser_sees_the_precision_of_matmuls() -> None:
    stack = Stack(3, StackShape("lstm:none", (4,)))
    x = torch.zeros(1)
    with torch.autocast("cpu", torch.bfloat16):
        assert type_of_factors(x) == torch.bfloat16
        assert type_of_factors(x.double()) == torch.float64
        assert stack.backend_in_use == "torch"
        assert stack(torch.randn(2, 3, 3))[0].dtype == torch.float32
    assert type_of_factors(x) == torch.float32


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU multiply in all precisions, by autocast, in nets of any size."""
    monkeypatch.setitem(CORPORA, "dates", Generated("dates", "some days", lambda: dates.write(lines=400)))
    monkeypatch.setattr(precision, "trouble", lambda *_: "")
    monkeypatch.setattr(machine, "SMALL", 0)

    def pretended(device: str) -> AbstractContextManager[Any]:
        name = precision.in_use()
        return torch.autocast(device, precision.HALVES.get(name), enabled=name in precision.HALVES)

    monkeypatch.setattr(loop, "forward_pass", pretended)


def start(task: str, name: str, **flags: Any) -> Training:
    few: dict[str, Any] = {"folds": 0, "ensemble": 2} if task == "poetry-classify" else {}
    few["backend"] = "auto" if task == "parity" else "reference"  # oneDNN has no LSTM in float16
    flags = {"hidden": "8", "epochs": 1, "max_time": 0.2, "seed": 5, **few, **flags}
    return Training.start(task, resolve(TASKS[task], flags), name)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_every_task_trains_under_autocast(task: str, name: str, home: Path, halves: None) -> None:
    training = start(task, "mine", precision=name)
    before = [each.detach().clone() for each in training.trainer.trainable]
    training.train(lambda _: None, pytest.fail)
    trainer = training.trainer
    assert trainer.settings.precision == name
    assert trainer.progress.step > trainer.progress.skipped
    assert not all(map(torch.equal, before, trainer.trainable))
    kept = [each for name, each in trainer.snapshot()[1].items() if not name.startswith("random.")]
    assert {each.dtype for each in kept if each.is_floating_point()} == {torch.float32}


def test_gradient_beyond_float16_is_skipped_and_halves_the_scale(home: Path, halves: None) -> None:
    trainer = start("poetry-lm", "mine", precision="float16", corpus=("hillside",), average=0.9).trainer
    batch = next(iter(trainer.experiment.batches(0, 0)))
    trainer.take_step(batch)
    scale, weights = trainer.scale.value, [each.detach().clone() for each in trainer.trainable]
    averages = trainer.snapshot()[1]
    hook = trainer.trainable[-1].register_hook(lambda gradient: gradient * torch.inf)
    trainer.take_step(batch)
    assert (trainer.progress.step, trainer.progress.skipped, trainer.scale.value) == (2, 1, scale / 2)
    assert all(map(torch.equal, weights, trainer.trainable))
    after = trainer.snapshot()[1]
    assert all(torch.equal(after[name], averages[name]) for name in after if name.startswith(("model.", "optimizer.")))
    trainer.scale.restore({"scale": MIN_SCALE, "_growth_tracker": 0})
    with pytest.raises(NotFinite, match="the gradient's norm is"):
        trainer.take_step(batch)
    assert (trainer.progress.step, trainer.scale.value) == (2, MIN_SCALE)
    hook.remove()
    trainer.take_step(batch)
    assert not all(map(torch.equal, weights, trainer.trainable))


def test_scale_is_saved_in_the_checkpoint(home: Path, halves: None) -> None:
    training = start("poetry-lm", "mine", precision="float16", corpus=("hillside",))
    trainer = training.trainer
    assert trainer.scale is not None
    batch = next(iter(trainer.experiment.batches(0, 0)))
    trainer.take_step(batch)
    trainer.scale.restore({"scale": 512.0, "_growth_tracker": 1})
    trainer.take_step(batch)
    training.session.save()
    state = trainer.scale.state()
    assert state == {"scale": 512.0, "_growth_tracker": 2}
    with training._held:
        pass
    resumed = Training.resume(training.run, {})
    assert resumed.trainer.scale.state() == state
    for each in (trainer, resumed.trainer):
        torch.manual_seed(5)
        each.take_step(batch)
    assert all(map(torch.equal, trainer.trainable, resumed.trainer.trainable))


def test_scale_moves_as_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch.amp.GradScaler("cpu").get_growth_interval() == PATIENCE
    monkeypatch.setattr("rnncli.training.loss_scale.PATIENCE", 5)
    scale, theirs = LossScale(torch.device("cpu")), torch.amp.GradScaler("cpu", growth_interval=5)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 0.0)
    for step in range(30):
        skipped = step in (3, 4, 11)
        parameter.grad = torch.full((1,), torch.inf if skipped else 1.0)
        theirs.scale(parameter)
        theirs.step(optimizer)
        theirs.update()
        scale.update(skipped=skipped)
        state = theirs.state_dict()
        assert scale.state() == {name: state[name] for name in scale.state()}
        assert scale.factor.item() == scale.value


@pytest.mark.parametrize(
    "broken",
    [*({"scale": value} for value in (0.0, float("nan"), 1e39, "1", True)), {"_growth_tracker": -1}],
)
def test_impossible_scale_is_refused(broken: dict[str, Any], home: Path, halves: None) -> None:
    trainer = start("poetry-lm", "mine", precision="float16", corpus=("hillside",)).trainer
    assert trainer.scale is not None
    trainer.take_step(next(iter(trainer.experiment.batches(0, 0))))
    values, tensors = trainer.snapshot()
    with pytest.raises(ValueError, match=r"^scaler is "):
        trainer.restore(values | {"scaler": values["scaler"] | broken}, tensors)
    trainer.restore(values | {"scaler": {"scale": MAX_SCALE, "_growth_tracker": 0}}, tensors)  # the greatest there is
    trainer.restore(values | {"scaler": values["scaler"] | {"growth_factor": 1e9}}, tensors)  # of earlier versions
    assert trainer.scale.state() == values["scaler"]


def test_precision_that_a_cpu_lacks_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tf32", "float16"):
        with pytest.raises(UsageError, match=f"^--precision {name}: CPUs support bfloat16 and float32"):
            start("parity", name, precision=name)
