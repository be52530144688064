"""From a cell to its compiled step: what is known of each kind of cell, traced when it is first used."""

from operator import is_
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from rnncli.kernels.engine.cache import load_compiled
from rnncli.kernels.engine.check import traced
from rnncli.kernels.engine.emit import emit
from rnncli.kernels.engine.graph import Untraceable
from rnncli.kernels.engine.inputs import Inputs
from rnncli.kernels.engine.plan import make_plan
from rnncli.kernels.engine.scan import Traced

_KNOWN: dict[Any, Traced | str] = {}
_LAST: WeakKeyDictionary[Any, tuple[list[Any], Traced | str]] = WeakKeyDictionary()
"""What each cell held when it was last seen, and its form."""


def traced_form(cell: Any) -> Traced | str:
    """A cell ready to run, or the reason why the engine cannot take it."""
    tables = [table for module in cell.modules() for table in (vars(module), vars(module).get("_parameters", {}))]
    stamp = [value for table in tables for value in table.values()]
    last = _LAST.get(cell)
    if last is not None and len(last[0]) == len(stamp) and all(map(is_, last[0], stamp)):
        return last[1]
    key = fingerprint(cell)
    if key not in _KNOWN:
        _KNOWN[key] = build(cell)
    _LAST[cell] = stamp, _KNOWN[key]
    return _KNOWN[key]


def build(cell: Any) -> Traced | str:
    """The same for a cell of a kind that is unknown so far."""
    try:
        return _made(cell)
    except Untraceable as reason:
        return str(reason)
    except Exception as error:  # a case that the engine does not know; the step loop still runs it
        return f"the engine fails on its step: {type(error).__name__}: {error}".splitlines()[0]


def _made(cell: Any) -> Traced:
    """Trace, plan and write; raises Untraceable.

    Neither the random state nor a context of the caller's that records no gradients matters.
    """
    with torch.random.fork_rng([]), torch.inference_mode(False), torch.enable_grad():
        found = traced(cell, [int(value.shape[1]) for value in cell.initial_state(1)])
    recipes = found.trace.prepared
    plan = make_plan(found.graph, found.derivative, len(recipes), owned=found.linear is not None)
    vectors = [int(name[1:]) for name in plan.vectors]
    inputs = Inputs(cell, [*recipes, *([found.linear.weight] if found.linear else [])], vectors)
    source = emit(plan, inputs)
    return Traced(plan, source, inputs, load_compiled(source.text))


def fingerprint(cell: Any) -> Any:
    """What a trace depends on: classes, plain attributes by value, shapes of tensors, other objects by identity."""
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
