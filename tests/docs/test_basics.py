"""docs/basics.md: its programs print what it shows, and its pictures are those that docs/draw_basics.py draws."""

import re
from pathlib import Path

import numpy as np
import pytest
from support.docs import DOCS, blocks_of, run_file, run_page

PAGE = "basics.md"


@pytest.mark.usefixtures("plain_loops")
def test_blocks_print_what_the_page_shows() -> None:
    _, printed = run_page(PAGE)
    assert [block.output for block in blocks_of(PAGE)] == printed
    assert sum(map(bool, printed)) == 10


def test_every_section_has_its_picture() -> None:
    page = (DOCS / PAGE).read_text("utf-8")
    shown = re.findall(r"!\[[^\]]+\]\(basics-([\w-]+)\.png\)", page)
    assert shown == [path.partition("basics-")[2] for path in re.findall(r"\((basics-[\w-]+)\.png\)", page)]
    assert sorted(shown) == sorted(path.stem.removeprefix("basics-") for path in DOCS.glob("basics-*.png"))
    assert len(shown) == 9


@pytest.mark.slow
def test_pictures_are_those_of_the_program(tmp_path: Path) -> None:
    from matplotlib.image import imread

    names = run_file("draw_basics.py")
    names["draw"](tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in DOCS.glob("basics-*.png")}
    for path in tmp_path.iterdir():
        drawn, kept = imread(path), imread(DOCS / path.name)
        assert drawn.shape == kept.shape, path.name
        assert np.abs(drawn - kept).mean() < 0.02, path.name  # versions of matplotlib place letters differently
