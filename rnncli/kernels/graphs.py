"""Functions of tensors as CUDA graphs: recorded when a shape comes for the second time, then replayed by one launch.

A card that waits for launches gains the most: a replay needs one, however many operations it repeats. The choice of the
moment, and all copies, are independent of CUDA: only a `Recorder` knows it.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, Protocol

import torch
from torch import Tensor

from rnncli.errors import RnnError

MAX_GRAPHS = 8
"""The number of graphs kept; each holds the tensors that it reads and writes."""

IDLE = 16
"""Times this number of graphs: the runs after which one that was not replayed is dropped for another.

Recording costs more than it saves where more shapes than graphs take turns: the others then run without.
"""

REMEMBERED = 1_000
"""The number of shapes, most recent ones, that are known to have come once."""

_inside: ContextVar[bool] = ContextVar("inside", default=False)


def in_graph() -> bool:
    """Tell whether this code runs for a graph: what it launches must not depend on any value of a tensor.

    Lengths are on the device then, and the host never reads them.
    """
    return _inside.get()


@contextmanager
def for_graph() -> Iterator[None]:
    """Run code as for a graph while inside."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


class Recorder(Protocol):
    """Records what a function launches on a device."""

    device: torch.device

    def is_free(self) -> bool:
        """Tell whether a recording can begin now: none is in progress."""

    def first(self, function: Callable[[], Any]) -> tuple[Any, str]:
        """Run a function where it will be recorded; return its result, and why it cannot be recorded, if so."""

    def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Return what repeats the launches of a function and returns its result, in the same tensors each time."""


@dataclass
class Recorded:
    """A graph, the tensors that it reads, and the number of the run that used it last."""

    replay: Callable[[], Any]
    inputs: list[Tensor]
    used: int


class Graphs:
    """Runs functions of tensors as graphs: one for each function, shape of its arguments, and address of what it uses.

    A shape that comes for the first time runs without a graph, as does everything without a recorder, and everything
    inside another graph. `limit` graphs are kept, the most recently used ones. A function that reads a tensor on the
    host cannot be recorded: its key is then among the `refused`, with the reason, and it always runs without a graph.
    """

    def __init__(self, recorder: Recorder | None = None, *, limit: int = MAX_GRAPHS, remedy: str = "") -> None:
        self.recorder, self.limit, self.remedy = recorder, limit, remedy
        self.runs = 0
        self.prepared = 0  # runs without a graph, and recordings
        self.refused: dict[Hashable, str] = {}
        self._once: OrderedDict[Hashable, None] = OrderedDict()
        self._recorded: OrderedDict[Hashable, Recorded] = OrderedDict()
        self._one_at_a_time = RLock()  # threads would share a graph's tensors

    def records(self, key: Hashable) -> bool:
        """Tell whether a function may be recorded."""
        return self.recorder is not None and key not in self.refused

    def run(
        self,
        key: Hashable,
        function: Callable[..., Any],
        *arguments: Any,
        uses: Sequence[Tensor] = (),
        into: Sequence[Tensor] | None = None,
    ) -> Any:
        """Return `function(*arguments)`.

        Arguments and result are tensors, other hashable values, or tuples, lists and dictionaries of these. The `key`
        stands for all that the function depends on besides its arguments and the contents of the tensors that it
        `uses`, such as weights. Inside a graph, all arguments are on the recorder's device. The result's tensors are
        copied `into` some if given, else into new ones. Raises RnnError where a recording fails.
        """
        recorder = self.recorder if self.records(key) and not in_graph() else None
        if recorder is None or not recorder.is_free():
            return _handed_out(function(*arguments), into, new=False)
        tensors: list[Tensor] = []
        place = key, _shape(arguments, tensors), tuple(each.data_ptr() for each in uses)
        with self._one_at_a_time, for_graph():
            self.runs += 1
            recorded = self._recorded.get(place)
            if recorded is None and place in self._once and self._has_a_free_place():
                recorded = self._recorded[place] = self._record(recorder, function, arguments, tensors)
                self.prepared += 1
            if recorded is None:
                self.prepared += 1
                self._remember(place)
                moved = _rebuilt(arguments, iter([each.to(recorder.device) for each in tensors]))
                result, reason = recorder.first(lambda: function(*moved))
                if reason:
                    self.refused[key] = reason
                return _handed_out(result, into, new=False)
            self._recorded.move_to_end(place)
            recorded.used = self.runs
            for own, tensor in zip(recorded.inputs, tensors, strict=True):
                own.copy_(tensor, non_blocking=True)
            return _handed_out(recorded.replay(), into, new=True)

    def forget(self) -> None:
        """Drop all graphs, and which shapes have come."""
        self._once.clear()
        self._recorded.clear()

    def _remember(self, place: Hashable) -> None:
        """Note that a shape has come."""
        self._once[place] = None
        self._once.move_to_end(place)
        if len(self._once) > REMEMBERED:
            self._once.popitem(last=False)

    def _has_a_free_place(self) -> bool:
        """Drop the graph that was idle for longest, if there are too many; tell whether one more can be kept."""
        if len(self._recorded) < self.limit:
            return True
        place, oldest = next(iter(self._recorded.items()))
        if self.runs - oldest.used <= IDLE * self.limit:
            return False
        del self._recorded[place]
        return True

    def _record(
        self, recorder: Recorder, function: Callable[..., Any], arguments: Any, tensors: Sequence[Tensor]
    ) -> Recorded:
        with torch.inference_mode(False):  # they outlive the mode of this call
            own = [each.detach().to(recorder.device, copy=True) for each in tensors]
        fixed = _rebuilt(arguments, iter(own))
        try:
            return Recorded(recorder.record(lambda: function(*fixed)), own, self.runs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RnnError(f"a CUDA graph cannot be recorded: {reason}{self.remedy and f'; {self.remedy}'}") from error


def _shape(tree: Any, tensors: list[Tensor]) -> Hashable:
    """Return what a graph of these arguments depends on besides their tensors' contents; append the tensors."""
    if isinstance(tree, Tensor):
        tensors.append(tree)
        return tree.shape, tree.dtype
    if isinstance(tree, tuple | list):
        return type(tree), *(_shape(each, tensors) for each in tree)
    if isinstance(tree, dict):
        return dict, *((name, _shape(each, tensors)) for name, each in tree.items())
    same: Hashable = tree
    return same


def _rebuilt(tree: Any, tensors: Iterator[Tensor]) -> Any:
    """Return the same structure with other tensors, in the order of `_shape`."""
    if isinstance(tree, Tensor):
        return next(tensors)
    if isinstance(tree, tuple | list):
        parts = [_rebuilt(each, tensors) for each in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if isinstance(tree, dict):
        return {name: _rebuilt(each, tensors) for name, each in tree.items()}
    return tree


def _handed_out(result: Any, into: Sequence[Tensor] | None, *, new: bool) -> Any:
    """Return a result in the tensors that the caller wants, in `new` ones, or in its own."""
    if into is None and not new:
        return result
    own: list[Tensor] = []
    _shape(result, own)
    if into is None:
        return _rebuilt(result, iter([each.clone() for each in own]))
    for tensor, wanted in zip(own, into, strict=True):
        if tensor is not wanted:
            wanted.copy_(tensor)
    return _rebuilt(result, iter(into))


class CudaRecorder:
    """Records on a stream of its own, into one pool of memory: its graphs must not be replayed at the same time.

    Recorded functions may draw from torch's default generator of the device, and from the `generators`.
    """

    def __init__(self, device: torch.device, *generators: torch.Generator) -> None:
        self.device, self.generators = device, generators
        self.stream: Any = torch.cuda.Stream(device)
        self.pool: Any = torch.cuda.graph_pool_handle()

    def is_free(self) -> bool:
        """Tell whether no recording is in progress on the current stream."""
        return not torch.cuda.is_current_stream_capturing()

    def first(self, function: Callable[[], Any]) -> tuple[Any, str]:
        """Run a function on the stream, which warms up the libraries that it calls, and let torch name a wait."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as heard, torch.cuda.stream(self.stream):
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                result = function()
            finally:
                torch.cuda.set_sync_debug_mode(before)
        current.wait_stream(self.stream)
        return result, _wait_among(heard)

    def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Capture what a function launches; nothing of it runs before the first replay."""
        graph: Any = torch.cuda.CUDAGraph()
        register: Any = getattr(graph, "register_generator_state", None)
        with warnings.catch_warnings(action="ignore"):  # since torch 2.14 a graph finds them by itself
            for generator in self.generators if register else ():
                register(generator)
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            result = function()

        def replay() -> Any:
            graph.replay()
            return result

        return replay


def _wait_among(heard: Sequence[warnings.WarningMessage]) -> str:
    """Return where the host waited for the device, by torch's warnings; issue all others again."""
    reason = ""
    for each in heard:
        text = str(each.message)
        if "called a synchronizing CUDA operation" in text:
            reason = reason or f"{Path(each.filename).name}, line {each.lineno} waits for the card"
        elif "Synchronization debug mode" not in text:  # torch says so of the mode itself
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno, source=each.source)
    return reason


def recorder_on(device: torch.device, *generators: torch.Generator) -> CudaRecorder | None:
    """Return a recorder for a CUDA device, which may draw from `generators`; none for any other."""
    return CudaRecorder(device, *generators) if device.type == "cuda" else None
