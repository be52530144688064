"""A recorder for a CPU: a tape of torch's operations, which repeats them on the same tensors as a CUDA graph does.

Like a graph, it repeats no line of Python: a number that the function once saw stays as it was, and a tensor that is
not among its arguments is read where it was. It refuses what a CUDA graph cannot repeat. What numba or numpy compute is
not an operation of torch: nets on tape need the backends `reference` or `torch`.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

UNKNOWN_IN_ADVANCE = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
FROM_HOST = ("aten::lift_fresh", "aten::_pack_padded_sequence")
"""A tensor made of numbers, which CUDA would copy from the host; lengths that are read on the host."""


def reason_to_refuse(func: Any, args: Any, kwargs: Any) -> str:
    """Why CUDA could not record a call: the host would wait for a value, or copy one; empty where it could."""
    name = func._schema.name
    if name in FROM_HOST:
        return name
    if name in ("aten::index", "aten::index_put", "aten::index_put_"):  # a mask is turned into places
        masks = [each for each in args[1] if each is not None and each.dtype in (torch.bool, torch.uint8)]
        return f"{name} by a mask" if masks else ""
    if name == "aten::repeat_interleave" and kwargs.get("output_size") is not None:
        return ""
    return name if UNKNOWN_IN_ADVANCE & set(func.tags) else ""


class Checking(TorchDispatchMode):
    """Notes the first call that CUDA could not record."""

    reason = ""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.reason = self.reason or reason_to_refuse(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


class Recording(TorchDispatchMode):
    """Keeps every call with its tensors; raises RuntimeError for one that CUDA could not record."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, dict[int, Tensor]]] = []  # with the tensors they made, by place
        self._made: dict[int, Any] = {}  # storages
        self._before: dict[int, tuple[Any, Any]] = {}  # storages that are written to, and copies of them
        self._drawn: dict[torch.Generator, Tensor] = {}  # their states before
        self._inference = torch.is_inference_mode_enabled()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if reason := reason_to_refuse(func, args, kwargs):
            raise RuntimeError(f"operation not permitted when stream is capturing: {reason}")
        given = _storages((args, kwargs))
        generator = kwargs.get("generator")
        if generator is not None:
            self._drawn.setdefault(generator, generator.get_state())
        if func._schema.is_mutable:
            for place in given.keys() - self._made.keys() - self._before.keys():
                self._before[place] = given[place], given[place].clone()
        out = func(*args, **kwargs)
        made = {
            place: each
            for place, each in enumerate(tree_leaves(out))
            if isinstance(each, Tensor) and each.untyped_storage()._cdata not in given
        }
        self._made |= _storages(list(made.values()))
        if made or func._schema.is_mutable:  # a view needs no repetition
            lists = tree_map(lambda each: each, (args, kwargs))
            self.calls.append((func, *lists, made))
        return out

    def undo(self) -> None:
        """Take back what the calls wrote to tensors from before, and drew from generators."""
        for generator, state in self._drawn.items():
            generator.set_state(state)
        for storage, before in self._before.values():
            storage.copy_(before)
        self._before.clear()

    def play(self) -> None:
        """Repeat all calls below autograd, each result into the tensors of the first time."""
        with torch.inference_mode(self._inference), torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, made in self.calls:
                again = tree_leaves(func(*args, **kwargs))
                for place, own in made.items():
                    assert own.shape == again[place].shape
                    own.copy_(again[place])


def _storages(tree: Any) -> dict[int, Any]:
    found = [each.untyped_storage() for each in tree_leaves(tree) if isinstance(each, Tensor)]
    return {each._cdata: each for each in found}


class TapeRecorder:
    """A `Recorder` on the CPU."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.recordings: list[Recording] = []
        self.replays = 0
        self._busy = False

    def is_free(self) -> bool:
        return not self._busy

    def first(self, function: Callable[[], Any]) -> tuple[Any, str]:
        with self._in_use(), Checking() as checking:
            result = function()
        return result, checking.reason

    def record(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Nothing is changed by the recording, as on CUDA, where nothing runs before the first replay."""
        random = torch.get_rng_state()
        with self._in_use(), Recording() as recording:
            result = function()
        recording.undo()
        torch.set_rng_state(random)
        self.recordings.append(recording)

        def replay() -> Any:
            self.replays += 1
            recording.play()
            return result

        return replay

    @contextmanager
    def _in_use(self) -> Any:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
