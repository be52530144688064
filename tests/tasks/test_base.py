"""Settings: defaults, then preset, then file, then flags; and refusals."""

from pathlib import Path

import pytest

from rnncli.errors import UsageError
from rnncli.presets import resolve, to_toml
from rnncli.settings import from_plain, plain
from rnncli.tasks import OUTLINES, TASKS


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_defaults_and_presets_are_valid_and_survive_a_checkpoint(task) -> None:
    for preset in (None, *task.presets):
        settings = resolve(task, {}, preset)
        assert from_plain(task.Config, plain(settings)) == settings


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_settings_come_back_from_a_file(task, tmp_path: Path) -> None:
    """Of every preset, with the task's corpus, and with flags given: those of any kind of value."""
    file = tmp_path / "mine.toml"
    strings = {"cell": "gru:reset-after", "hidden": "32,16", "precision": "bfloat16", "device": "cpu"}
    starting = [name for name, values in task.presets.items() if values.get("unfreeze_every")]  # from a model
    for preset in (None, *sorted(task.presets.keys() - starting)):
        for flags in ({}, {"lr": 1e-07, "seed": 2**63 - 1, "learn_h0": False, "save_every": 0.0, **strings}):
            settings = task.resolved(resolve(task, flags, preset))
            file.write_text(to_toml(task, settings), encoding="utf-8")
            assert task.resolved(resolve(task, {}, file=file)) == settings


def test_weight_drop_that_nobody_chose_suits_the_cell() -> None:
    task, small = TASKS["char-lm"], {"corpus": ("hillside",)}
    assert resolve(task, {**small, "cell": "mlstm"}).weight_drop == 0.5
    assert resolve(task, {**small, "cell": "mingru"}).weight_drop == 0.0
    assert resolve(task, {**small, "cell": "mingru", "weight_drop": 0.5}).weight_drop == 0.5  # refused by the net


@pytest.mark.parametrize("name", ['of "mine"', "back\\slash", "\ttab\x7f\x1b", "früh 詩 😀"])
def test_odd_names_of_corpora_come_back_from_a_file(name: str, tmp_path: Path) -> None:
    task, file = TASKS["poetry-lm"], tmp_path / "mine.toml"
    settings = resolve(task, {"corpus": (name, "hillside")})
    file.write_text(to_toml(task, settings), encoding="utf-8")
    assert resolve(task, {}, file=file) == settings


def test_a_file_of_settings_leaves_the_machine_its_choice() -> None:
    task = TASKS["char-lm"]
    own, given = (set(to_toml(task, resolve(task, flags)).splitlines()) for flags in ({}, {"backend": "reference"}))
    assert not [line for line in own if line.startswith(("device", "backend", "precision"))]
    assert given - own == {'backend = "reference"'}


def test_outlines_name_the_verbs_of_their_tasks() -> None:
    assert {name: set(outline.verbs) for name, outline in OUTLINES.items()} == {
        name: set(TASKS[name].uses) for name in OUTLINES
    }


def test_flags_override_the_file_which_overrides_the_preset(tmp_path: Path) -> None:
    task, file = TASKS["poetry-lm"], tmp_path / "mine.toml"
    file.write_text('lr = 1\nbatch-size = 7\nhidden = 50\ncorpus = "frost"\n')
    settings = resolve(task, {"lr": 0.25}, "book", file)
    assert (settings.lr, settings.batch_size, settings.hidden) == (0.25, 7, "50")
    assert (settings.momentum, settings.corpus) == (0.99, ("frost",))


def test_model_in_a_file_implies_its_preset(tmp_path: Path) -> None:
    file = tmp_path / "foil.toml"
    file.write_text("\ufeffmodel = 'mlp'\nlr = 0.5\n", encoding="utf-8")  # as some editors save it
    settings = resolve(TASKS["parity"], {}, file=file)
    assert (settings.model, settings.epochs, settings.lr) == ("mlp", 3000, 0.5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"lr": -1.0}, "--lr must be above 0, not -1.0"),
        ({"lr": float("nan")}, "--lr must be a finite number, not nan"),
        ({"epochs": -1}, "--epochs must be at least 0, not -1"),
        ({"epochs": 0}, "--epochs 0 trains until --max-time is over: add --max-time"),
        ({"optimizer": "magic"}, "--optimizer must be one of sgd, rmsprop, adam, adamw, muon, normuon, not 'magic'"),
        ({"momentum": 1.0}, "--momentum must be below 1, not 1.0"),
        ({"seed": 2**63}, f"--seed must be at most {2**63 - 1}, not {2**63}"),
        ({"warmup": 1.5}, "--warmup must be at most 1, not 1.5"),
        (
            {"schedule": "plateau"},
            "--schedule plateau needs --patience: validations without gain before the learning rate drops",
        ),
        ({"hidden": "4,x"}, "--hidden must be sizes such as 64 or 64,32, not '4,x'"),
        ({"hidden": "0"}, "--hidden must be sizes such as 64 or 64,32, not '0'"),
    ],
)
def test_invalid_values_are_refused_in_one_line(flags: dict, message: str) -> None:
    with pytest.raises(UsageError) as error:
        _ = resolve(TASKS["parity"], flags).sizes
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr = ", "is not TOML"),
        ("speed = 3", "there is no setting 'speed': did you mean 'seed'\\?"),
        ("bach-size = 3", "there is no setting 'bach-size': did you mean 'batch-size'\\?"),
        ("zzz = 3", "there is no setting 'zzz': `rnn train TASK --help-all` lists them"),
        ("lr = 'fast'", "lr must be a number, not 'fast'"),
        ("epochs = 1.5", "epochs must be a whole number, not 1.5"),
        ("learn-h0 = 1", "learn-h0 must be true or false, not 1"),
    ],
)
def test_invalid_files_are_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        resolve(TASKS["parity"], {}, file=file)
    with pytest.raises(UsageError, match=r"cannot read --config .*absent"):
        resolve(TASKS["parity"], {}, file=tmp_path / "absent")


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(UsageError, match="poetry-lm has no preset 'bok': it has book"):
        resolve(TASKS["poetry-lm"], {}, "bok")
