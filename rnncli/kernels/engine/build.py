"""From a cell to its forms: what is known of each kind of cell, traced and compiled when first needed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import is_
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from rnncli.kernels.engine.cache import load_compiled
from rnncli.kernels.engine.check import Checked, traced
from rnncli.kernels.engine.facts import changing, content, fingerprint, held
from rnncli.kernels.engine.graph import Untraceable
from rnncli.kernels.engine.surroundings import Surroundings, surroundings
from rnncli.kernels.engine.torch_table import TorchLayer, layer_of
from rnncli.kernels.engine.trace import InDouble

if TYPE_CHECKING:
    from rnncli.kernels.engine.scan import Traced

Form = TypeVar("Form")


@dataclass
class Known:
    """Cells with one fingerprint: their trace, and the forms that it was made into so far."""

    trace: Checked | str
    forms: dict[str, Any] = field(default_factory=dict)


class Seen(NamedTuple):
    """What a cell held when it was last seen, and what is known of it."""

    surroundings: Surroundings
    held: list[Any]  # also in the surroundings
    changing: list[Any]
    contents: list[Any]  # of those
    known: Known


MOST = 64
"""Fingerprints, of which an attribute that changes in every epoch makes many; the one used longest ago is forgotten."""

_KNOWN: dict[Any, Known] = {}
_ONE_AT_A_TIME = RLock()
"""Held while a cell is traced: another thread must not use a module that is not yet complete."""

_LAST: WeakKeyDictionary[Any, Seen] = WeakKeyDictionary()


def traced_form(cell: Any) -> "Traced | str":
    """A cell ready to run in compiled loops, or the reason why the engine cannot take it; imports numba."""
    return form_of(cell, "loops", lambda trace: _compiled(trace, cell))


def torch_layer(cell: Any) -> TorchLayer | str:
    """The layer of torch with a cell's equations, or the reason why there is none."""
    return form_of(cell, "torch", layer_of)


def form_of(cell: Any, name: str, make: Callable[[Checked], Form]) -> Form | str:
    """Return what `make` makes of a cell's trace, or the reason why it cannot."""
    known = _known(cell)
    if name not in known.forms:
        with _ONE_AT_A_TIME:
            if name not in known.forms:
                trace = known.trace
                known.forms[name] = trace if isinstance(trace, str) else _attempt(lambda: make(trace))
    found: Form | str = known.forms[name]
    return found


def _known(cell: Any) -> Known:
    """The trace and the forms of a cell."""
    last = _LAST.get(cell)
    if last is not None and _is_same(last, cell):
        return last.known
    around = surroundings(cell)
    key = fingerprint(cell, around.values())
    with _ONE_AT_A_TIME:
        known = _KNOWN.pop(key) if key in _KNOWN else Known(build(cell))
        _KNOWN[key] = known  # the last one
        if len(_KNOWN) > MOST:
            del _KNOWN[next(iter(_KNOWN))]
    outside = around.values()
    lists = [*changing(cell), *(value for value in outside if isinstance(value, Tensor | tuple))]
    _LAST[cell] = Seen(around, [*held(cell), *outside], lists, list(map(content, lists)), known)
    return known


def _is_same(last: Seen, cell: Any) -> bool:
    """Whether a cell and its surroundings are as they were."""
    now = [*held(cell), *last.surroundings.values()]
    is_same = len(now) == len(last.held) and all(map(is_, now, last.held))
    return is_same and last.contents == list(map(content, last.changing))


def build(cell: Any) -> Checked | str:
    """The trace of a cell of a kind that is unknown so far.

    The caller's contexts do not matter: its random state, its default device, autocast, and whether it records
    gradients.
    """
    with (
        torch.random.fork_rng([]),
        torch.device("cpu"),
        torch.autocast("cpu", enabled=False),
        torch.inference_mode(False),
        torch.enable_grad(),
        InDouble(),
    ):
        return _attempt(lambda: traced(cell, [int(value.shape[1]) for value in cell.initial_state(1)]))


def _attempt(make: Callable[[], Form]) -> Form | str:
    try:
        return make()
    except Untraceable as reason:
        return str(reason)
    except Exception as error:  # a case that the engine does not know; the step loop still runs it
        return f"the engine fails on its step: {type(error).__name__}: {error}".splitlines()[0]


def _compiled(found: Checked, cell: Any) -> "Traced":
    """Plan and write the loops of a cell."""
    from rnncli.kernels.engine.emit import emit
    from rnncli.kernels.engine.inputs import Inputs
    from rnncli.kernels.engine.plan import make_plan
    from rnncli.kernels.engine.scan import Traced

    recipes = found.trace.prepared
    plan = make_plan(found.graph, found.derivative, len(recipes), owned=found.linear is not None)
    vectors = [int(name[1:]) for name in plan.vectors]
    inputs = Inputs(cell, [*recipes, *([found.linear.weight] if found.linear else [])], vectors)
    source = emit(plan, inputs)
    return Traced(plan, source, inputs, load_compiled(source.text))
