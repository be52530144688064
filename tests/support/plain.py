"""Generated code as plain Python: it runs everywhere, slowly, and nothing is compiled."""

from types import SimpleNamespace
from typing import Any


def load_plain(text: str) -> Any:
    """The functions of a generated text."""
    from rnncli.kernels.engine import functions
    from rnncli.kernels.engine.emit import IMPORT

    names: dict[str, Any] = {name: getattr(functions, name) for name in functions.__all__}
    names = {name: getattr(each, "py_func", each) for name, each in names.items()}
    names |= {"to_float": lambda value: value, "add_row": _add_row, "compiled": lambda function: function}
    exec(compile(text.replace(IMPORT, ""), "<generated>", "exec"), names)
    return SimpleNamespace(**names)


def _add_row(a: Any, b: Any) -> None:
    b += a
