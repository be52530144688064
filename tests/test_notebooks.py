"""The notebooks of the documentation: their committed outputs are of their code, and they run in an empty folder."""

import ast
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from support.notebooks import empty_notebook, run_notebook

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def kinds(cell: Any) -> list[list[str]]:
    """The kinds of a cell's outputs: streams by name, values by the forms in which a notebook shows them."""
    return [[output["name"]] if "name" in output else sorted(output["data"]) for output in cell["outputs"]]


@pytest.mark.no_backend
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_was_run_in_order_and_is_valid_python(path: Path) -> None:
    notebook = json.loads(path.read_text("utf-8"))
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in cells:
        ends_in_value = isinstance(ast.parse("".join(cell["source"])).body[-1], ast.Expr)
        assert not cell["outputs"] or ends_in_value or "name" in cell["outputs"][0]
        for output in cell["outputs"]:
            if png := output.get("data", {}).get("image/png"):
                assert base64.b64decode(png).startswith(b"\x89PNG")
    assert "/tmp/" not in path.read_text("utf-8"), "a path of the machine"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_in_an_empty_folder(
    path: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = json.loads(path.read_text("utf-8"))
    assert list(map(kinds, code_cells(run_notebook(kept)))) == list(map(kinds, code_cells(kept)))


@pytest.mark.no_backend
def test_runner_shows_what_jupyter_shows() -> None:
    class_of_own = (
        "class Mine:\n    def _repr_html_(self): return '<b>x</b>'\n    def __repr__(self): return 'x'\nmine = Mine()"
    )
    cells = [
        ("markdown", "# A"),
        ("code", f"import sys\n{class_of_own}\nprint(1)\nmine"),
        ("code", "mine = 2"),
        ("code", "mine"),
    ]
    done = code_cells(run_notebook(empty_notebook(cells)))
    assert kinds(done[0]) == [["stdout"], ["text/html", "text/plain"]]
    assert done[1]["outputs"] == []
    assert done[2]["outputs"][0]["data"] == {"text/plain": ["2"]}
    (stream,) = code_cells(run_notebook(empty_notebook([("code", "print('a\\rb')")])))[0]["outputs"]
    assert stream["text"] == ["b\n"]
    with pytest.raises(ZeroDivisionError):
        run_notebook(empty_notebook([("code", "1 / 0")]))
