"""Many small launches as one CUDA graph: recorded when a shape occurs for the second time, then replayed."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from threading import RLock

import torch
from torch import Tensor

Launch = Callable[[list[Tensor]], None]

MAX_GRAPHS = 8
"""The number of graphs kept, most recently used; each holds its own tensors, as large as a scan's."""


@dataclass
class Recorded:
    """A graph, and the tensors that it reads and writes."""

    replay: Callable[[], None]
    tensors: list[Tensor]


_seen: OrderedDict[Hashable, Recorded | None] = OrderedDict()
_ONE_AT_A_TIME = RLock()
"""Held while a graph is filled and replayed: threads share its tensors."""


def run(key: Hashable, launch: Launch, tensors: list[Tensor], written: Sequence[int]) -> None:
    """Run `launch` on the tensors; it changes those at `written`.

    The key stands for everything that the launches depend on except the tensors' contents. The first run launches one
    by one, since compilation on the way cannot be recorded.
    """
    if not recordable(tensors):
        launch(tensors)
        return
    with _ONE_AT_A_TIME:
        _run(key, launch, tensors, written)


def _run(key: Hashable, launch: Launch, tensors: list[Tensor], written: Sequence[int]) -> None:
    if key not in _seen:
        launch(tensors)
        _seen[key] = None
        if len(_seen) > MAX_GRAPHS:
            _seen.popitem(last=False)
        return
    _seen.move_to_end(key)
    recorded = _seen[key]
    if recorded is None:
        own = [tensor.clone() for tensor in tensors]
        recorded = _seen[key] = Recorded(record(lambda: launch(own)), own)
    for own_tensor, tensor in zip(recorded.tensors, tensors, strict=True):
        own_tensor.copy_(tensor)
    recorded.replay()
    for k in written:
        tensors[k].copy_(recorded.tensors[k])


def recordable(tensors: list[Tensor]) -> bool:
    """Tell whether launches on these tensors can be recorded: on CUDA, while no other recording runs."""
    return tensors[0].is_cuda and not torch.cuda.is_current_stream_capturing()


def record(launches: Callable[[], None]) -> Callable[[], None]:
    """Return a function that repeats the launches with a single one."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        launches()
    return graph.replay
