"""Defaults that follow the size of a text."""

from dataclasses import replace
from pathlib import Path

import pytest

from rnncli.presets import resolve
from rnncli.sizes import SizeClass, sized
from rnncli.tasks import TASKS

SIZED = [task for task in TASKS.values() if task.by_size]
SMALL, LARGE = SizeClass(100, {"epochs": 9}, "little"), SizeClass(1_000, {"epochs": 3})


def write(folder: Path, characters: int, name: str = "mine.txt") -> str:
    """Write a text of N characters, in lines, and return its path."""
    file = folder / name
    file.write_text(("wörter und mehr\n" * characters)[:characters], encoding="utf-8")
    return str(file)


@pytest.mark.parametrize(("characters", "found"), [(99, SMALL), (100, LARGE), (999, LARGE), (1_000, None)])
def test_a_text_gets_the_first_class_that_it_fits_in(characters: int, found: SizeClass | None, tmp_path: Path) -> None:
    result = sized([SMALL, LARGE], [write(tmp_path, characters)])
    assert result == (found and (characters, found.defaults, found.note))


def test_the_characters_of_several_texts_add_up(tmp_path: Path) -> None:
    files = [write(tmp_path, 60, "a.txt"), f"b={write(tmp_path, 60, 'b.txt')}"]
    assert sized([SMALL, LARGE], files) == (120, {"epochs": 3}, "")


def test_what_cannot_be_read_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\0\1")
    for spec in ("nowhere", str(tmp_path / "binary"), str(tmp_path)):
        assert sized([SMALL], [spec]) is None
    assert sized([], [write(tmp_path, 10)]) is None


@pytest.mark.parametrize("task", SIZED, ids=lambda task: task.name)
def test_a_small_text_has_defaults_that_flags_files_and_presets_override(task, tmp_path: Path) -> None:
    for size in task.by_size:
        given = {"corpus": (write(tmp_path, size.below - 1),)}
        settings = resolve(task, given)
        assert {name: getattr(settings, name) for name in size.defaults} == size.defaults
        assert settings == resolve(task, given | {"batch_size": settings.batch_size})
        assert resolve(task, given | {"hidden": "7", "epochs": 2}).hidden == "7"
        file = tmp_path / "mine.toml"
        file.write_text("epochs = 77\n")
        assert resolve(task, given, file=file).epochs == 77
        for preset in task.presets:
            assert replace(resolve(task, given, preset), corpus=()) == resolve(task, {"corpus": ()}, preset)
