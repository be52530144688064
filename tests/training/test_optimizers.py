"""The table of optimizers and schedules: their arguments, their defaults, and settings without effect."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rnncli.errors import UsageError
from rnncli.presets import remarks_on, resolve
from rnncli.settings import from_plain, plain
from rnncli.tasks import TASKS
from rnncli.training.muon import Muon, NorMuon
from rnncli.training.optimizers import OPTIMIZERS, make_optimizer
from rnncli.training.schedules import SCHEDULES
from rnncli.training.settings import TrainingSettings, default_owner

CLASSES = {
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "muon": Muon,
    "normuon": NorMuon,
}
GIVEN = {"lr": 0.5, "momentum": 0.25, "beta1": 0.125, "beta2": 0.75, "weight_decay": 0.0625}
OTHERS = {
    "lr": 0.25,
    "momentum": 0.5,
    "beta1": 0.625,
    "beta2": 0.5,
    "weight_decay": 0.5,
    "warmup": 0.3,
    "decay": 0.7,
    "lr_ratio": 8.0,
}


def in_use(optimizer: Any) -> dict[str, float]:
    """Return the settings that torch's optimizer holds, by their names here."""
    group = optimizer.param_groups[0]
    beta1, beta2 = group.get("betas", (None, None))
    momentum = getattr(optimizer, "momentum", group.get("momentum"))
    values = {**{name: group[name] for name in ("lr", "weight_decay")}, "beta1": beta1, "beta2": beta2}
    return {name: value for name, value in {**values, "momentum": momentum}.items() if value}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_uses_exactly_the_settings_it_names(name: str) -> None:
    optimizer = make_optimizer(torch.nn.Linear(2, 2), TrainingSettings(optimizer=name, **GIVEN))
    assert type(optimizer) is CLASSES.get(name, type(optimizer))
    assert in_use(optimizer) == {each: GIVEN[each] for each in OPTIMIZERS[name].settings}


def test_schedules_use_exactly_the_settings_they_name() -> None:
    from rnncli.training.schedules import Position, learning_rate

    for name, kind in SCHEDULES.items():
        rates = {}
        for changed in ("", "decay", "warmup", "lr_ratio"):
            values = {each: 4.0 if each == "lr_ratio" else 0.5 for each in ("decay", "warmup", "lr_ratio")}
            values |= {changed: values[changed] / 2} if changed else {}
            settings = TrainingSettings(schedule=name, **values)
            rates[changed] = [learning_rate(settings, Position(step, step, 9, step)) for step in range(9)]
        assert {each for each, found in rates.items() if found != rates[""]} == set(kind.settings)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_tuned_defaults_belong_to_the_tuned_optimizer(task: Any) -> None:
    for preset in (None, *task.presets):
        tuned = resolve(task, {}, preset)
        assert remarks_on(task, tuned, preset) == [note for name, note in task.notes.items() if name == preset]
        for name, kind in OPTIMIZERS.items():
            found = resolve(task, {"optimizer": name}, preset)
            if name == tuned.optimizer:
                assert found == tuned
            else:
                assert {each: getattr(found, each) for each in kind.settings} == kind.settings
                assert f"optimizer {name} with --lr {kind.settings['lr']:g}" in remarks_on(task, found, preset)[-1]


def test_muon_recipes_keep_their_momentum() -> None:
    """Muon's matrices had 0.95 regardless of --momentum, until that setting applied to them."""
    recipes = [resolve(task, {}, preset) for task in TASKS.values() for preset in (None, *task.presets)]
    orthogonal = [each for each in recipes if OPTIMIZERS[each.optimizer].orthogonal]
    assert len(orthogonal) == 5  # char-lm and its best, wiki-lm running, translate and its sentences
    assert {each.momentum for each in orthogonal} == {0.95}


def test_given_settings_apply_to_any_optimizer() -> None:
    found = resolve(TASKS["char-lm"], {"optimizer": "adam", "weight_decay": 0.125, "schedule": "exponential"})
    assert (found.weight_decay, found.lr, found.beta2, found.decay) == (0.125, 1e-3, 0.999, 0.95)
    assert remarks_on(TASKS["char-lm"], found, None) == [
        "optimizer adam with --lr 0.001, --beta1 0.9, --beta2 0.999, --weight-decay 0.125: "
        "the task's own defaults are for normuon; "
        "schedule exponential with --decay 0.95: the task's own defaults are for cosine"
    ]


@pytest.mark.parametrize("name", [*OPTIMIZERS, *SCHEDULES])
def test_setting_without_effect_is_refused(name: str) -> None:
    setting, kinds = ("optimizer", OPTIMIZERS) if name in OPTIMIZERS else ("schedule", SCHEDULES)
    known = {each for kind in kinds.values() for each in kind.settings}
    patience = {"patience": 1} if name == "plateau" else {}
    for each in known:
        given = {setting: name, each: OTHERS[each], **patience}
        if each in kinds[name].settings:
            assert getattr(resolve(TASKS["tag"], given), each) == OTHERS[each]
        else:
            flag = "--" + each.replace("_", "-")
            with pytest.raises(
                UsageError, match=rf"^{flag} changes nothing with --{setting} {name}.*: leave {flag} out$"
            ):
                resolve(TASKS["tag"], given)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_presets_name_no_setting_without_effect(task: Any) -> None:
    for preset, values in task.presets.items():
        if preset != "book":  # which repeats the book
            resolve(task, values)


def test_old_checkpoints_keep_their_betas() -> None:
    """Before beta1 existed, momentum was also the first beta, and Muon's matrices always had 0.95."""
    for optimizer, momentum in (("muon", 0.95), ("adam", 0.8), ("sgd", 0.8)):
        stored = plain(TrainingSettings(optimizer=optimizer, momentum=0.8))
        del stored["beta1"]
        found = from_plain(TrainingSettings, stored)
        assert (found.momentum, found.beta1) == (momentum, 0.8)
    stored = plain(TrainingSettings(optimizer="muon", momentum=0.8, beta1=0.5))
    assert from_plain(TrainingSettings, stored) == TrainingSettings(optimizer="muon", momentum=0.8, beta1=0.5)


def test_help_shows_no_default_that_never_applies() -> None:
    owners = {name: default_owner(TASKS["tag"].Config, name) for name in ("lr", "momentum", "beta1", "decay", "warmup")}
    assert owners == {"lr": "", "momentum": "optimizer", "beta1": "", "decay": "schedule", "warmup": ""}


def test_the_former_name_of_the_torch_backend_is_understood(tmp_path: Path) -> None:
    """`library` in flags, TOML files and old checkpoints."""
    file = tmp_path / "old.toml"
    file.write_text('backend = "library"\n')
    task = TASKS["parity"]
    settings = [resolve(task, {"backend": "library"}), resolve(task, {}, file=file)]
    assert {each.backend for each in settings} == {"torch"}
    assert from_plain(task.Config, {**plain(settings[0]), "backend": "library"}).backend == "torch"
