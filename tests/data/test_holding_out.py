"""What each task holds out: shares, every N-th line, N lines, and whole numbers and checkpoints from before."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from rnncli.data.holding_out import HoldOut, spread
from rnncli.errors import RnnWarning, UsageError
from rnncli.presets import resolve
from rnncli.settings import from_plain, plain
from rnncli.tasks import TASKS

LINES = [f"{'abcdefghijklmnopqrstuvwxyz'[n]} {'x' * 9}" for n in range(25)]
LETTERS = [line[0] for line in LINES]
TEXT = "\n".join(["".join(LETTERS), *LINES])  # every letter is in the part to learn from


@pytest.mark.parametrize("total", [1, 9, 10, 25, 1000])
def test_share_of_one_in_n_is_every_nth(total: int) -> None:
    rows = list(range(total))
    assert HoldOut(0.1).rows(total) == HoldOut(every=10).rows(total) == rows[9::10]
    assert HoldOut(1 / 3).rows(total)[:3] == [] if total < 3 else HoldOut(every=3).rows(total) == rows[2::3]
    assert HoldOut().rows(total) == []


def test_fractions_are_exact_and_counts_are_spread_evenly() -> None:
    assert len(HoldOut(0.29).rows(100)) == 29  # 0.29 * 100 is 28.999999999999996
    for number in (1, 7, 99):
        rows = HoldOut(number=number).rows(100)
        gaps = {after - before for before, after in zip([-1, *rows], rows, strict=False)}
        assert len(rows) == number
        assert max(gaps) - min(gaps) <= 1
    assert HoldOut(every=1).rows(3) == [0, 1, 2]


def test_whole_groups_are_held_out_up_to_the_share() -> None:
    assert spread([4, 4, 4, 1, 1, 6], Fraction(1, 4)) == [3, 4]  # 4 of 16 would be too many at 12, 1 of 13 is not
    assert spread([2, 2, 2, 2], Fraction(1, 2)) == [1, 3]


def tagged(config: Any) -> list[str]:
    from rnncli.tasks.tag import read_split

    return [words[0] for words in read_split(config).held_out.words]


def verse(config: Any) -> list[str]:
    from rnncli.data.codec import Known
    from rnncli.tasks.poetry_lm import read

    return [line.words[0] for line in read(config, Known()).verse.held_out]


def classified(config: Any) -> list[str]:
    from rnncli.tasks.poetry_classify import divide

    divided = divide(config)
    return [divided.data.texts[row][0] for row in divided.held[:, 0].nonzero().flatten().tolist()]


def running(config: Any) -> list[str]:
    from rnncli.data.codec import Known
    from rnncli.tasks.char_lm import read

    data = read(config, Known())
    return ["".join(data.codec.vocabulary.decode(data.held_out.tolist()))]


READ: dict[str, tuple[Callable[[Any], list[str]], str, dict[str, Any]]] = {
    "tag": (tagged, "\n\n".join(f"{line[0]} A\nx B" for line in LINES), {}),
    "poetry-lm": (verse, "\n".join(LINES), {"min_count": 1}),
    "poetry-classify": (
        classified,
        "text\tlabel\n" + "".join(f"{line}\t{'yn'[n % 2]}\n" for n, line in enumerate(LINES)),
        {"folds": 0},
    ),
    "char-lm": (running, TEXT, {}),
}
DRAWN = 7  # texts of poetry-classify
CASES = [
    ("tag", {}, LETTERS[9::10]),
    ("tag", {"hold_out": 0.25}, LETTERS[3::4]),
    ("tag", {"hold_out_every": 7}, LETTERS[6::7]),
    ("tag", {"hold_out_count": 5}, LETTERS[4::5]),
    ("tag", {"hold_out": 0}, []),
    ("poetry-lm", {}, LETTERS[9::10]),
    ("poetry-lm", {"hold_out": 0.2}, LETTERS[4::5]),
    ("poetry-lm", {"hold_out_every": 12}, LETTERS[11::12]),
    ("poetry-lm", {"hold_out": 0}, []),
    ("poetry-classify", {}, []),
    ("poetry-classify", {"hold_out": 0.2}, LETTERS[4::5]),
    ("poetry-classify", {"hold_out_every": 8}, LETTERS[7::8]),
    ("char-lm", {}, [TEXT[-int(0.1 * len(TEXT)) :]]),
    ("char-lm", {"hold_out": 0.5}, [TEXT[-int(0.5 * len(TEXT)) :]]),
    ("char-lm", {"hold_out_count": 33}, [TEXT[-33:]]),
    ("char-lm", {"hold_out_every": 10}, ["".join(f"{line}\n" for line in LINES[8::10])]),
]


def settings(task: str, folder: Path, **flags: Any) -> Any:
    name = "texts.tsv" if task == "poetry-classify" else "text.txt"
    (folder / name).write_text(READ[task][1])
    return resolve(TASKS[task], {"corpus": (str(folder / name),), **READ[task][2], **flags})


@pytest.mark.parametrize(("task", "flags", "lines"), CASES)
def test_each_task_holds_out_what_its_settings_say(task: str, flags: dict, lines: list[str], tmp_path: Path) -> None:
    assert READ[task][0](settings(task, tmp_path, **flags)) == lines


@pytest.mark.parametrize(
    ("task", "number", "name", "lines"),
    [
        ("tag", 7, "hold_out_every", LETTERS[6::7]),
        ("poetry-lm", 12, "hold_out_every", LETTERS[11::12]),
        ("poetry-classify", DRAWN, "hold_out_count", None),
        ("char-lm", 0.3, "", [TEXT[-int(0.3 * len(TEXT)) :]]),
        ("translate", 0.3, "", None),
    ],
)
def test_whole_numbers_and_checkpoints_from_before_keep_their_lines(
    task: str, number: float, name: str, lines: list[str] | None, tmp_path: Path
) -> None:
    Config, flag = TASKS[task].Config, name.replace("_", "-")
    before = {"hold_out": number}
    if not name:
        assert resolve(TASKS[task], before).hold_out == from_plain(Config, before).hold_out == number
    else:
        with pytest.warns(RnnWarning, match=rf"^--hold-out {number} is now called --{flag} {number}$") as told:
            given = resolve(TASKS[task], before)
        assert len(told) == 1
        assert given == resolve(TASKS[task], {name: number})
        assert from_plain(Config, before).held_out == given.held_out
        with pytest.warns(RnnWarning, match="is now called"):
            assert getattr(TASKS[task].resolved(Config(hold_out=number)), name) == number
    if task == "translate":
        return
    stored = {**plain(settings(task, tmp_path)), "hold_out": number}
    old = from_plain(Config, {each: value for each, value in stored.items() if each[:9] != "hold_out_"})
    found = READ[task][0](old)
    if lines is None:  # drawn by the seed: as the version before drew them
        import random

        order = list(range(len(LINES)))
        random.Random(0).shuffle(order)
        lines = [LETTERS[row] for row in sorted(order[:DRAWN])]
    assert found == lines


def test_toml_flags_and_presets_replace_each_other(tmp_path: Path) -> None:
    file, task = tmp_path / "a.toml", TASKS["poetry-classify"]
    file.write_text("hold-out = 6\nfolds = 0\n")
    with pytest.warns(RnnWarning, match="^--hold-out 6 is now called --hold-out-count 6$"):
        assert resolve(task, {}, file=file).held_out == HoldOut(number=6)
    with pytest.warns(RnnWarning):
        assert resolve(task, {"hold_out_every": 4}, file=file).held_out == HoldOut(every=4)
    assert resolve(task, {"hold_out": 0.2}, "book").held_out == HoldOut(0.2)
    assert not resolve(task, {"hold_out": 0.0}, "book").held_out
    with pytest.raises(UsageError, match="--hold-out and --hold-out-every exclude each other: give one of them"):
        resolve(task, {"hold_out": 0.2, "hold_out_every": 4})


@pytest.mark.parametrize(
    ("task", "flags", "complaint"),
    [
        ("tag", {"hold_out": 1.5}, "--hold-out must be below 1, not 1.5"),
        ("char-lm", {"hold_out": 2.0}, "--hold-out must be below 1, not 2.0"),
        ("tag", {"hold_out_count": 25}, "has 25 sentences: with --hold-out-count 25 none is left to learn"),
        ("poetry-lm", {"hold_out_every": 1}, "--hold-out-every 1 leaves no line to train on"),
        ("poetry-classify", {"hold_out_every": 1}, "--hold-out-every 1 leaves nothing to learn from 25 texts"),
        ("char-lm", {"hold_out_count": 9999}, "--hold-out-count 9999 leaves nothing to learn from text"),
    ],
)
def test_nothing_left_to_learn_is_one_line(task: str, flags: dict, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=complaint):
        READ[task][0](settings(task, tmp_path, **flags))


@pytest.mark.parametrize(
    ("task", "before", "changes", "is_same"),
    [
        ("poetry-lm", {}, {"hold_out": 0.0, "hold_out_every": 10}, True),  # --hold-out 10, as it was written before
        ("tag", {"hold_out_every": 10, "hold_out": 0.0}, {"hold_out": 0.1}, True),
        ("tag", {"hold_out_every": 10, "hold_out": 0.0}, {"hold_out": 0.2}, False),
        ("poetry-lm", {}, {"hold_out_every": 9}, False),
        ("poetry-lm", {}, {"hold_out_count": 10}, False),
        ("char-lm", {}, {"hold_out_every": 10}, False),  # its share is the end of the text
    ],
)
def test_a_resumed_run_takes_another_spelling_of_the_same_lines(
    task: str, before: dict, changes: dict, is_same: bool
) -> None:
    settings = TASKS[task].Config(**before)
    assert settings.without_same(changes | {"epochs": 3}) == ({} if is_same else changes) | {"epochs": 3}
    other = HoldOut(*(changes.get(name, 0) for name in ("hold_out", "hold_out_every", "hold_out_count")))
    if task != "char-lm":
        assert (settings.held_out.rows(99) == other.rows(99)) == is_same
