"""Training steps as graphs: on a tape of torch's operations they give the same training as without.

A tape repeats no Python, refuses what CUDA could not record, and has its own inputs: a number or a tensor that a graph
would not see again fails here. What only a card can show is marked `cuda`.
"""

import copy
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import support.tape
import torch
from support.experiments import make_trainer, train
from support.tape import TapeRecorder
from torch import Tensor

from rnncli import api
from rnncli.api import Training
from rnncli.cells import make_cell
from rnncli.data.batching import IGNORED, Batch, Sentences
from rnncli.data.pairs import SentencePairs
from rnncli.errors import UsageError
from rnncli.kernels.graphs import CudaRecorder, for_graph
from rnncli.kernels.matmul import fast_matmul
from rnncli.kernels.scan import choose_backend
from rnncli.models import recorded
from rnncli.models.language_model import LanguageModel
from rnncli.models.stack import StackShape
from rnncli.models.translator import Translator
from rnncli.presets import resolve
from rnncli.tasks import TASKS
from rnncli.training import machine
from rnncli.training.estimate import seconds_a_step
from rnncli.training.experiment import Experiment
from rnncli.training.loop import NotFinite, Stepped, Trainer
from rnncli.training.loss_scale import LossScale
from rnncli.training.losses import language_loss
from rnncli.training.machine import pick_graphs
from rnncli.training.optimizers import OptimizerKind
from rnncli.training.settings import OPTIMIZERS, TrainingSettings


def trainer_of(recorder: Any = None, **settings: Any) -> Trainer:
    """A trainer whose cells torch's own operations compute, with a recorder or without."""
    trainer = make_trainer(**settings)
    model: Any = trainer.model
    model.stack.backend = "reference"
    if recorder:
        trainer.record_steps(recorder)
    trainer.begin_average()
    return trainer


def losses_of(trainer: Trainer, steps: int | None = None) -> list[float]:
    torch.manual_seed(0)
    return [event.loss for event in train(trainer, steps) if isinstance(event, Stepped)]


def assert_same_state(ours: Trainer, theirs: Trainer) -> None:
    (_, tensors), (_, wanted) = ours.snapshot(), theirs.snapshot()
    assert tensors.keys() == wanted.keys()
    for name, value in tensors.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=2e-5, msg=lambda text, name=name: name + text)


@pytest.fixture(autouse=True)
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's RMSprop counts its steps on the device only where that is a card; matmuls are tried out once before."""
    with fast_matmul():
        pass
    module = import_module("torch.optim.rmsprop")
    monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda: ["cpu"])


CASES: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": name, "lr": 0.01, "weight_decay": 0.1} for name in OPTIMIZERS},
    "carried states, average, schedule": {
        "epochs": 2,
        "streams": True,
        "average": 0.9,
        "schedule": "cosine",
        "warmup": 0.3,
    },
    "accumulated windows, clipped": {"accumulate": 2, "bptt": 2, "clip": 0.01},
}
FAST = ("sgd", "normuon", "carried states, average, schedule")


@pytest.mark.parametrize("case", [pytest.param(case, marks=() if case in FAST else pytest.mark.slow) for case in CASES])
def test_recorded_training_is_the_same(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if case == "rmsprop":  # torch adds a tensor of 1.0 to a count on the CPU, and a number to one on a card
        monkeypatch.setattr(support.tape, "FROM_HOST", ())
    tape, settings = TapeRecorder(), {"epochs": 1, **CASES[case]}
    plain, taped = trainer_of(**settings), trainer_of(tape, **settings)
    assert losses_of(taped) == pytest.approx(losses_of(plain), rel=1e-4)
    assert_same_state(taped, plain)
    assert taped.graphs.refused == {}
    passes = 2 if "streams" in settings else 1  # from the trained first state, and from carried ones
    assert len(tape.recordings) == passes + 1
    assert tape.replays > 8


def test_resumed_recorded_training_is_that_without_a_break() -> None:
    settings = {"epochs": 2, "streams": True, "average": 0.9, "optimizer": "normuon"}
    whole, broken = trainer_of(TapeRecorder(), **settings), trainer_of(TapeRecorder(), **settings)
    losses_of(whole)
    losses_of(broken, 9)
    values, tensors = copy.deepcopy(broken.snapshot())
    resumed = trainer_of(TapeRecorder(), **settings)
    resumed.restore(values, copy.deepcopy(tensors))
    train(resumed)
    for (name, value), wanted in zip(resumed.snapshot()[1].items(), whole.snapshot()[1].values(), strict=True):
        assert torch.equal(value, wanted), name
    broken.restore(values, tensors)  # after steps, with graphs of the optimizer's former state
    train(broken)
    assert all(map(torch.equal, broken.trainable, whole.trainable))


def test_restart_forgets_the_graphs_of_the_former_optimizer() -> None:
    plain, taped = trainer_of(epochs=2), trainer_of(TapeRecorder(), epochs=2)
    for trainer in (plain, taped):
        for steps in (4, 8, 12):
            losses_of(trainer, steps)
            trainer._restart()
        losses_of(trainer)
    assert_same_state(taped, plain)


def test_loss_that_is_not_finite_stops_a_replay_before_the_step() -> None:
    tape = TapeRecorder()
    trainer = trainer_of(tape, epochs=2, average=0.9)
    train(trainer, 5)
    batch = next(iter(trainer.experiment.batches(0)))
    before, replays = copy.deepcopy(trainer.snapshot()), tape.replays
    with pytest.raises(NotFinite, match="the loss is nan"):
        trainer.take_step(batch._replace(inputs=batch.inputs * torch.nan))
    assert tape.replays == replays + 1  # of the passes, not of the update
    after = trainer.snapshot()
    assert after[0] == before[0]
    for name, value in after[1].items():
        assert torch.equal(value, before[1][name]) or name == "random.torch", name


def test_scaled_gradients_that_overflow_are_skipped_at_a_replay() -> None:
    plain, taped = trainer_of(epochs=2), trainer_of(TapeRecorder(), epochs=2)
    for trainer in (plain, taped):
        trainer.scale = LossScale(torch.device("cpu"))
        losses_of(trainer, 6)
        trainer.scale.restore({"scale": 2.0**126, "_growth_tracker": 0})
        losses_of(trainer)
    assert plain.scale is not None
    assert taped.scale is not None
    assert taped.scale.state() == plain.scale.state()
    assert taped.progress.skipped == plain.progress.skipped > 2
    assert_same_state(taped, plain)


def test_estimate_leaves_recordings_out_and_changes_nothing() -> None:
    trainer = trainer_of(TapeRecorder(), epochs=2)
    before = copy.deepcopy(trainer.snapshot()[1])
    assert 0 < seconds_a_step(trainer) < 1
    assert all(torch.equal(value, before[name]) for name, value in trainer.snapshot()[1].items())


def test_optimizer_that_does_not_declare_it_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS._objects, "mine", OptimizerKind(OPTIMIZERS["sgd"].build, {"lr": 0.1}))
    tape = TapeRecorder()
    plain, taped = trainer_of(optimizer="mine", epochs=2), trainer_of(tape, optimizer="mine", epochs=2)
    assert losses_of(taped) == pytest.approx(losses_of(plain), rel=1e-4)
    assert taped.graphs.refused == {"update": "optimizer mine does not declare that it can be"}
    assert len(tape.recordings) == 1


# Whole tasks


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> TapeRecorder:
    """The recorder of all trainings from now on, as if the CPU were a card."""
    recorder = TapeRecorder()
    monkeypatch.setattr(machine, "_without_graphs", lambda device: "")
    monkeypatch.setattr(api, "CudaRecorder", lambda device: recorder)
    return recorder


VERSE = (
    "the sun is up\nand so am i\nthe moon is down and all is well\nwe sleep\nno one knows why the wind is cold\n" * 4
)
TINY = {"backend": "reference", "seed": 1, "epochs": 2, "device": "cpu"}
WHOLE: dict[str, dict[str, Any]] = {
    "char-lm": {"hidden": "6,5", "embedding": 4, "bptt": 8, "batch_size": 4, "average": 0.9, "output_dropout": 0.2},
    "poetry-lm": {"word_dropout": 0.0, "hidden": "6", "embedding": 4, "batch_size": 4, "tied": True},
    "parity": {"hidden": "4", "bits": 5, "batch_size": 64, "epochs": 1, "validate_every": 8},
    "translate": {"hidden": "4", "embedding": 4, "batch_size": 4, "tokens": "word", "epochs": 6},
    "wiki-lm": {"hidden": "6", "embedding": 6, "running": True, "softmax": "sampled", "bptt": 5, "batch_size": 4},
}


@pytest.mark.parametrize(
    "task",
    [
        "poetry-lm",
        pytest.param("char-lm", marks=pytest.mark.slow),
        pytest.param("parity", marks=pytest.mark.slow),
        pytest.param("translate", marks=pytest.mark.slow),
        pytest.param("wiki-lm", marks=pytest.mark.slow),
    ],
)
def test_task_is_learned_the_same_by_graphs(task: str, tape: TapeRecorder, home: Path) -> None:
    text = home / "text.txt"
    lines = VERSE.splitlines()
    pairs = [f"{line}\t{other}\n" for line, other in zip(lines, lines[::-1], strict=True)]
    text.write_text("".join(pairs) if task == "translate" else VERSE * (2 if task == "wiki-lm" else 1))
    flags: dict[str, Any] = {**TINY, **({} if task == "parity" else {"corpus": (str(text),)})}
    curves, states = [], []
    for graphs in ("off", "on"):
        training = Training.start(task, resolve(TASKS[task], {**flags, **WHOLE[task], "graphs": graphs}), graphs)
        assert (training.no_graphs == "") == (graphs == "on")
        curve: list[float] = []
        training.train(lambda event, c=curve: c.append(event.loss) if isinstance(event, Stepped) else None, pytest.fail)
        curves.append(curve)
        states.append(training.trainer.snapshot()[1])
    assert len(curves[0]) > 8
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)
    weights = [name for name in states[0] if name.startswith("model.")]
    for name in weights:
        torch.testing.assert_close(states[1][name], states[0][name], rtol=1e-2, atol=1e-3)
    assert len(tape.recordings) >= 2
    assert tape.replays >= len(curves[0])  # of two graphs a step


def test_part_of_a_step_that_reads_a_tensor_is_named_once(tape: TapeRecorder, home: Path) -> None:
    training = Training.start("parity", resolve(TASKS["parity"], {**TINY, **WHOLE["parity"]}), "mine")

    def reading(*arguments: Any) -> Any:
        outcome = training.experiment.loss(*arguments)
        return outcome._replace(loss_sum=outcome.loss_sum * (1.0 + 0.0 * outcome.loss_sum.item()))

    trainer = training.trainer
    trainer.loss = lambda batch, states: reading(trainer.model, batch, states)
    warned: list[str] = []
    training.train(lambda _: None, warned.append)
    assert len(warned) == 1
    assert warned[0].startswith("no CUDA graph of the forward and backward passes: ")
    assert len(tape.recordings) == 1  # of the optimizer's step


# Choice and refusal


def reason(settings: TrainingSettings, device: str = "cuda", *, given: bool = True, no_graphs: str = "") -> str:
    experiment = replace(make_trainer().experiment, no_graphs=no_graphs)
    return pick_graphs(settings, device, experiment, given=given)


def test_graphs_are_recorded_on_cuda_only_and_a_users_wish_is_obeyed_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    auto, on, off = (TrainingSettings(graphs=each) for each in ("auto", "on", "off"))
    assert (reason(auto), reason(on), reason(off)) == ("", "", "--no-graphs")
    assert reason(auto, "cpu") == reason(on, "cpu", given=False) == "only CUDA has graphs"
    assert reason(auto, no_graphs="it is odd") == "it is odd"
    with pytest.raises(UsageError, match=r"^--graphs: only CUDA has graphs; leave --graphs out$"):
        reason(on, "cpu")
    recompute = TASKS["char-lm"].Config(graphs="on", recompute=True)
    with pytest.raises(UsageError, match=r"^--graphs: --recompute restores random generators"):
        reason(recompute)
    monkeypatch.setattr(machine, "world", lambda: 2)
    assert reason(auto) == "several processes exchange their gradients within a step"
    assert Experiment.no_graphs  # tasks of others have to declare that nothing outside of tensors matters


def test_flag_is_refused_on_a_cpu(rnn: Any) -> None:
    ran = rnn("train parity --graphs --device cpu")
    assert ran.code == 2
    assert ran.err.strip().splitlines()[-1].endswith("--graphs: only CUDA has graphs; leave --graphs out")


def test_torch_layers_do_not_pack_in_a_graph() -> None:
    cell = make_cell("lstm:none", 3, 4)
    assert choose_backend(cell, "auto", "cuda", packed=True) == "torch"
    with for_graph():
        assert choose_backend(cell, "auto", "cuda", packed=True) != "torch"
        assert choose_backend(cell, "auto", "cuda") == "torch"


# Few lengths


def gradients(loss: Tensor, model: torch.nn.Module) -> list[Tensor]:
    parameters = [each for each in model.parameters() if each.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros(()) if each is None else each for each in found]


def test_padding_to_few_lengths_changes_no_loss_and_no_gradient() -> None:
    torch.manual_seed(0)
    lines = [[3, 4, 5], [6], [4, 4, 6, 7, 3], [5, 7]]
    model = LanguageModel(9, 5, StackShape("gru:reset-after", (4,)), backend="reference").double()
    pairs = list(zip(lines, lines[::-1], strict=True))
    translator = Translator(9, 5, StackShape("lstm", (4,)), backend="reference").double()

    def batches(multiple: int) -> tuple[Batch, Batch]:
        rows = torch.tensor([0, 1, 3])
        sentences = Sentences.of(lines, multiple=multiple).to(torch.device("cpu"))
        return sentences.rows(rows), SentencePairs.of(pairs, torch.device("cpu"), multiple).rows(rows)

    for net, exact, padded in zip((model, translator), batches(1), batches(8), strict=True):
        assert len(padded.targets) == 8 > len(exact.targets)
        found = [language_loss(net, each, None, 0.1, 0.5, 0.7) for each in (exact, padded)]
        sums = [each.loss_sum + each.penalty for each in found]
        torch.testing.assert_close(sums[1], sums[0])
        for ours, wanted in zip(*(gradients(each, net) for each in sums), strict=True):
            torch.testing.assert_close(ours, wanted)


def test_sampled_softmax_of_fixed_size_is_the_same() -> None:
    torch.manual_seed(0)
    model = LanguageModel(400, 5, StackShape("elman", (6,)), softmax="sampled", backend="reference")
    h, targets = torch.randn(30, 6), torch.randint(400, (30,))
    targets[::7] = IGNORED
    targets[3] = targets[4]
    found = []
    for context in (torch.enable_grad, for_graph):
        torch.manual_seed(5)
        with context():
            loss = model.readout.loss(h, targets)
        found.append([loss, *gradients(loss, model)])
    assert found[0][0] > 0
    for ours, wanted in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted)


# On a card


@pytest.mark.cuda
@pytest.mark.parametrize("case", CASES)
def test_recorded_training_is_the_same_on_a_card(case: str) -> None:
    settings = {"epochs": 1, **CASES[case]}
    found = []
    for graphs in (False, True):
        trainer = make_trainer(**settings)
        batches, model = trainer.experiment.batches, trainer.model.cuda()

        def moved(epoch: int, begin: int = 0, batches: Any = batches) -> Any:
            for each in batches(epoch, begin):
                yield each._replace(inputs=each.inputs.cuda(), targets=each.targets.cuda())

        experiment = replace(trainer.experiment, model=model, batches=moved)
        validate = lambda net, batches=moved: {"loss": 0.0}  # noqa: E731
        trainer = Trainer(replace(experiment, validate=validate), trainer.settings)
        if graphs:
            trainer.record_steps(CudaRecorder(torch.device("cuda", torch.cuda.current_device())))
        trainer.begin_average()
        found.append((losses_of(trainer), trainer))
    assert found[1][1].graphs.refused == {}
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-2)
    for ours, wanted in zip(found[1][1].trainable, found[0][1].trainable, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-2, atol=1e-3)


def test_validation_is_recorded_unless_graphs_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "recorder_on", lambda *_: TapeRecorder())
    for graphs, wanted in (("auto", True), ("off", False)):
        seen: list[bool] = []

        def validate(model: Any, seen: list[bool] = seen) -> dict[str, float]:
            seen.append(recorded.graphs_on(next(model.parameters()).device) is not None)
            return {"loss": 1.0}

        trainer = trainer_of(epochs=1, graphs=graphs)
        trainer.experiment = replace(trainer.experiment, validate=validate)
        train(trainer)
        assert seen
        assert set(seen) == {wanted}
