"""From a cell to its compiled step: what is known of each kind of cell, traced when it is first used."""

from operator import is_
from threading import RLock
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch

from rnncli.kernels.engine.cache import load_compiled
from rnncli.kernels.engine.check import traced
from rnncli.kernels.engine.emit import emit
from rnncli.kernels.engine.facts import changing, content, fingerprint, held
from rnncli.kernels.engine.graph import Untraceable
from rnncli.kernels.engine.inputs import Inputs
from rnncli.kernels.engine.plan import make_plan
from rnncli.kernels.engine.scan import Traced


class Seen(NamedTuple):
    """What a cell held when it was last seen, and its form."""

    held: list[Any]
    changing: list[Any]
    contents: list[Any]  # of those
    form: Traced | str


_KNOWN: dict[Any, Traced | str] = {}
_ONE_AT_A_TIME = RLock()
"""Held while a cell is traced: another thread must not use a module that is not yet complete."""

_LAST: WeakKeyDictionary[Any, Seen] = WeakKeyDictionary()


def traced_form(cell: Any) -> Traced | str:
    """A cell ready to run, or the reason why the engine cannot take it."""
    stamp, last = held(cell), _LAST.get(cell)
    is_same = last is not None and len(last.held) == len(stamp) and all(map(is_, last.held, stamp))
    if last is not None and is_same and last.contents == list(map(content, last.changing)):
        return last.form
    key = fingerprint(cell)
    with _ONE_AT_A_TIME:
        if key not in _KNOWN:
            _KNOWN[key] = build(cell)
    lists = changing(cell)
    _LAST[cell] = Seen(stamp, lists, list(map(content, lists)), _KNOWN[key])
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

    The caller's contexts do not matter: its random state, its default device, and whether it records gradients.
    """
    with torch.random.fork_rng([]), torch.device("cpu"), torch.inference_mode(False), torch.enable_grad():
        found = traced(cell, [int(value.shape[1]) for value in cell.initial_state(1)])
    recipes = found.trace.prepared
    plan = make_plan(found.graph, found.derivative, len(recipes), owned=found.linear is not None)
    vectors = [int(name[1:]) for name in plan.vectors]
    inputs = Inputs(cell, [*recipes, *([found.linear.weight] if found.linear else [])], vectors)
    source = emit(plan, inputs)
    return Traced(plan, source, inputs, load_compiled(source.text))
