"""Everything but training is exact to float32 on every processor, including those whose fast matmuls round."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tasks import some_tasks
from torch.utils._python_dispatch import TorchDispatchMode

from rnncli.api import Training, load, pick_device
from rnncli.cells import make_cell
from rnncli.data import dates
from rnncli.data.corpora import CORPORA
from rnncli.data.sources import Generated
from rnncli.errors import UsageError
from rnncli.kernels import fused, matmul, precision, triton
from rnncli.kernels.scan import choose_backend
from rnncli.models.feedforward import FeedForward
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training import machine
from rnncli.training.machine import pick_precision

MATMULS = {torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm}
EXACT = {"none", "ieee"}


class RoundingProcessor(TorchDispatchMode):
    """Simulates a processor with AMX: float32 matmuls round their factors wherever torch's switch allows it."""

    def __init__(self) -> None:
        super().__init__()
        self.switches: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in MATMULS and args[-1].dtype == torch.float32:
            switch = torch.backends.mkldnn.matmul.fp32_precision
            self.switches.append(switch)
            if switch not in EXACT:
                args = (*args[:-2], *(each.bfloat16().float() for each in args[-2:]))
        return func(*args, **(kwargs or {}))


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> RoundingProcessor:
    """Treat any net as large, and every matmul as worth rounding."""
    monkeypatch.setitem(CORPORA, "dates", Generated("dates", "some days", lambda: dates.write(lines=400)))
    monkeypatch.setattr(matmul, "_onednn_is_exact", lambda: False)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(matmul, "ROUND_FROM", 0)
    if not fused.trouble():  # the rest works without numba too
        monkeypatch.setattr("rnncli.kernels.engine.matmuls.ROUND_FROM", 0)
        monkeypatch.setattr("rnncli.kernels.engine.scan.SMALL", 0)
    monkeypatch.setattr(machine, "SMALL", 0)
    return RoundingProcessor()


def test_simulated_processor_rounds_where_the_switch_allows_it(processor: RoundingProcessor) -> None:
    a, b = torch.rand(3, 4), torch.rand(4, 5)
    with processor, matmul.switched("bf16"):
        rounded = a @ b
    assert processor.switches == ["bf16"]
    assert 1e-5 < (rounded - a @ b).norm() < 1e-1


@pytest.mark.parametrize("task", some_tasks("parity", "poetry-lm", "translate"))
def test_validation_is_exact_while_training_rounds(task: str, home: Path, processor: RoundingProcessor) -> None:
    flags: dict[str, Any] = {"hidden": "24", "max_time": 1e-6, "precision": "bfloat16"}
    if task == "poetry-classify":
        flags |= {"folds": 0, "ensemble": 1}
    with processor:
        training = Training.start(task, resolve(TASKS[task], flags), "mine")
        assert training.trainer.settings.precision == "bfloat16"
        training.train(lambda _: None, pytest.fail)
    assert processor.switches
    assert set(processor.switches) <= EXACT
    trained = load(training.run.folder / "last.safetensors")
    evaluate = TASKS[task].evaluate
    validated = {"split": "validation"} if hasattr(evaluate.Options, "split") else {}
    loss = training.trainer.progress.history[-1]["loss"]
    assert evaluate.run(trained, evaluate.Options(**validated))["loss"] == pytest.approx(loss, rel=1e-6)


PRESETS = [
    (task, preset)
    for task in TASKS
    for preset, values in {None: {}, **TASKS[task].presets}.items()
    if not values.get("unfreeze_every")  # its net is that of the model it starts from
]


@pytest.mark.parametrize(("task", "preset"), PRESETS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_no_default_and_no_preset_is_refused(
    task: str, preset: str | None, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on a simulated old CUDA device, nor on a processor without bfloat16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    config = resolve(TASKS[task], LARGE if task == "char-lm" else {}, preset)
    assert pick_device(config.device) == device
    large = torch.nn.Linear(1000, 1000)
    assert pick_precision(config, device, large, given=True) == "float32"
    cell: Any = make_cell(config.cell, 8, config.sizes[0], activation=config.activation)
    assert choose_backend(cell, config.backend, device) in ("fused", "torch", "reference", "triton")


LARGE = {"corpus": ("shakespeare",)}
"""A text that is not small, since it need not be here."""


def taken_by_itself(task: str, preset: str | None) -> list[str]:
    """Return device, backend and precision of `rnn train` on this machine, in the table's words."""
    config = resolve(TASKS[task], LARGE if task == "char-lm" else {}, preset)
    device = pick_device(config.device, max(config.sizes), config.batch_size)
    fed_forward = getattr(config, "model", "rnn") == "mlp"
    large = FeedForward(600, 2, (600,)) if fed_forward else torch.nn.Linear(1000, 1000)
    rounded = pick_precision(config, device, large, given=True)
    if fed_forward:
        return [device, rounded]
    cell: Any = make_cell(config.cell, 8, config.sizes[0], activation=config.activation)
    equal, unequal = (
        choose_backend(cell, "auto", device, packed=packed, precision=rounded) for packed in (False, True)
    )
    return [device, equal if equal == unequal else f"{equal} (unequal: {unequal})", rounded]


@pytest.mark.parametrize(("task", "preset"), PRESETS)
def test_documented_table_of_backends_is_true(task: str, preset: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/speed.md, row by row, on a CPU with and without bfloat16 and on a simulated H100."""
    if fused.trouble():
        pytest.skip("waits for numba")
    text = (Path(__file__).parents[2] / "docs" / "speed.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines() if line[:1] == "|"]
    (row,) = (each for each in rows if each[0] == " ".join(filter(None, (task, preset))))
    config = resolve(TASKS[task], LARGE if task == "char-lm" else {}, preset)
    sizes = ",".join(map(str, config.sizes))
    net = f"feed-forward {sizes}" if getattr(config, "model", "rnn") == "mlp" else f"{config.cell} {sizes}"
    assert row[1] == f"{net}, B {config.batch_size}"
    for place, has in ((2, True), (3, False)):
        monkeypatch.setattr(precision, "has_bfloat16", lambda has=has: has)
        monkeypatch.setattr(precision, "has_amx", lambda: False)
        assert row[place] == " ".join(taken_by_itself(task, preset)[1:])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(triton, "trouble", lambda device, dtype: "")
    assert row[4] == " ".join(taken_by_itself(task, preset))


def test_unsupported_bfloat16_is_refused_where_given(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run may have moved to such a processor: it trains in float32 there, unless bfloat16 is given again."""

    def start(name: str) -> Training:
        flags = {"hidden": "4", "epochs": 1, "corpus": ("hillside",), "precision": "bfloat16"}
        return Training.start("poetry-lm", resolve(TASKS["poetry-lm"], flags), name)

    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    training = start("mine")
    assert training.trainer.settings.precision == "bfloat16"
    training.train(lambda _: None, pytest.fail)
    assert load(training.run.folder / "last.safetensors").config.precision == "bfloat16"
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    with pytest.raises(UsageError, match=r"^--precision bfloat16: this processor has no instructions for it"):
        start("again")
    with pytest.raises(UsageError, match=r"^--precision bfloat16: this processor has no instructions for it"):
        Training.resume(training.run, {"precision": "bfloat16", "epochs": 2})
    resumed = Training.resume(training.run, {"epochs": 2})
    assert (resumed.config.precision, resumed.trainer.settings.precision) == ("bfloat16", "float32")


@pytest.mark.parametrize(("has", "taken"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_the_fastest_precision_of_the_task(has: bool, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: has)
    large, small = torch.nn.Linear(1000, 1000), torch.nn.Linear(4, 4)
    char, poetry = resolve(TASKS["char-lm"], {}), resolve(TASKS["poetry-lm"], {})
    assert pick_precision(char, "cpu", large, given=True) == taken
    assert pick_precision(char, "cpu", small, given=True) == "float32"
    assert pick_precision(poetry, "cpu", large, given=True) == "float32"


def test_feed_forward_net_refuses_a_precision_without_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    config = resolve(TASKS["parity"], {"model": "mlp", "precision": "bfloat16"})
    with pytest.raises(
        UsageError, match=r"^--precision bfloat16: matmuls of a feed-forward net are not rounded on a CPU"
    ):
        pick_precision(config, "cpu", FeedForward(600, 2, (600,)), given=True)
