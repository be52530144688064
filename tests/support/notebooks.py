"""Runs notebooks in this process, cell by cell, as Jupyter does: each cell's output, and the value of its last line.

`make notebooks` runs those of docs/notebooks in an empty folder and keeps the outputs.
"""

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MIME = (("text/html", "_repr_html_"), ("image/png", "_repr_png_"))
"""What notebooks show of an object besides its `repr`, and the method that makes it."""


def run_notebook(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs of its code cells, which share their names; an error in a cell is raised."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, number = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            number += 1
            outputs = list(_outputs("".join(cell["source"]), names, number))
            cell = {**cell, "execution_count": number, "outputs": outputs}
        cells.append(cell)
    return {**notebook, "cells": cells}


def _outputs(source: str, names: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    value = None
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        exec(compile(tree, f"<cell {number}>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"<cell {number}>", "eval"), names)
    for name, stream in (("stderr", err), ("stdout", out)):
        if text := _on_screen(stream.getvalue()):
            yield {"name": name, "output_type": "stream", "text": text.splitlines(keepends=True)}
    for figure in _open_figures():
        data = {"image/png": _png(figure), "text/plain": [repr(figure)]}
        yield {"data": data, "metadata": {}, "output_type": "display_data"}
    if value is not None and not source.rstrip().endswith(";"):
        yield {"data": _shown(value), "execution_count": number, "metadata": {}, "output_type": "execute_result"}


def _open_figures() -> list[Any]:
    """The figures that a cell made with pyplot, which Jupyter shows and closes at the end of the cell."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return []
    figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
    pyplot.close("all")
    return figures


def _png(figure: Any) -> str:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=72)
    return base64.b64encode(drawn.getvalue()).decode()


def _on_screen(text: str) -> str:
    """What a terminal shows in the end: a carriage return begins the line again."""
    return "\n".join(line.rpartition("\r")[2] for line in text.split("\n"))


def _shown(value: object) -> dict[str, Any]:
    found: dict[str, Any] = {"text/plain": repr(value).splitlines(keepends=True)}
    for mime, method in MIME:
        show = getattr(value, method, None)
        if show is not None and (made := show()) is not None:
            found[mime] = base64.b64encode(made).decode() if isinstance(made, bytes) else made.splitlines(keepends=True)
    return found


def empty_notebook(cells: list[tuple[str, str]]) -> dict[str, Any]:
    """A notebook of cells, each `markdown` or `code` with its source; none has run."""
    of_code = {"execution_count": None, "outputs": []}
    return {
        "cells": [
            {
                "cell_type": kind,
                "id": f"cell-{number}",
                "metadata": {},
                "source": source.splitlines(keepends=True),
                **(of_code if kind == "code" else {}),
            }
            for number, (kind, source) in enumerate(cells, 1)
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def main(paths: list[Path]) -> None:
    """Run notebooks and write their outputs into them."""
    for path in paths:
        whole = path.absolute()
        notebook = json.loads(whole.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder:
            os.environ["RNN_HOME"] = folder
            os.chdir(folder)
            done = run_notebook(notebook)
            os.chdir(whole.parent)
        whole.write_text(json.dumps(done, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main([Path(name).absolute() for name in sys.argv[1:]])
