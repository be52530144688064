"""From a cell to its compiled step: what is known of each kind of cell, traced when it is first used."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from rnncli.kernels.engine import scalars
from rnncli.kernels.engine.check import traced
from rnncli.kernels.engine.emit import Source, emit
from rnncli.kernels.engine.graph import Untraceable
from rnncli.kernels.engine.plan import make_plan
from rnncli.kernels.engine.scan import Traced

_KNOWN: dict[Any, Traced | str] = {}


def traced_form(cell: Any) -> Traced | str:
    """A cell ready to run, or the reason why the engine cannot take it."""
    key = fingerprint(cell)
    if key not in _KNOWN:
        _KNOWN[key] = build(cell)
    return _KNOWN[key]


def build(cell: Any, load: Callable[[Source], Any] | None = None) -> Traced | str:
    """The same for a cell that nobody has seen; `load` turns the source into an object with its functions."""
    from rnncli.kernels.engine.cache import load_compiled

    sizes = [int(value.shape[1]) for value in cell.initial_state(1)]
    try:
        found = traced(cell, sizes)
    except Untraceable as reason:
        return str(reason)
    plan = make_plan(found.graph, found.derivative, owned=found.linear is not None)
    source = emit(plan)
    return Traced(plan, source, found.trace.prepared, found.linear, (load or load_compiled)(source))


def fingerprint(cell: Any) -> Any:
    """What a trace depends on: the class, plain attributes by value, the shapes of tensors, other objects by identity."""
    modules = cell.modules()
    return tuple((type(module), *map(_fact, vars(module).items())) for module in modules)


def _fact(item: tuple[str, Any]) -> Any:
    name, value = item
    if isinstance(value, int | float | str | None):
        return name, value
    if isinstance(value, Tensor):
        return name, value.shape
    if isinstance(value, dict):
        return name, tuple((key, each.shape if isinstance(each, Tensor) else None) for key, each in value.items())
    return (name, id(value)) if callable(value) else (name, repr(value))


def load_plain(source: Source) -> Any:
    """The functions of a source as plain Python, which runs everywhere, slowly."""
    from rnncli.kernels.engine import functions

    names: dict[str, Any] = {name: getattr(scalars, name) for name in scalars.__all__}
    for name in ("add_row", "multiply", "row_max", "row_sum"):
        names[name] = getattr(functions, name).py_func
    names["to_float"] = lambda value: value
    names["add_row"] = _add_row
    body = source.text.split("import *\n", 1)[1]
    exec(compile(body, "<generated>", "exec"), names)  # noqa: S102
    return SimpleNamespace(**names)


def _add_row(a: Any, b: Any) -> None:
    b += a
