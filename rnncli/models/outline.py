"""A model without values: its names and shapes cost no memory, and weights are checked against them."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

Model = TypeVar("Model", bound=nn.Module)

DRAWING: set[Any] = {torch.Tensor.normal_, torch.Tensor.uniform_, nn.init.normal_, nn.init.uniform_}
"""The functions that draw initial weights."""


class _Undrawn(TorchFunctionMode):
    """Skips drawing for tensors without values; torch would import for a second to do it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in DRAWING:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


@contextmanager
def _at_most(parameters: int) -> Iterator[None]:
    """Raise ValueError where this thread registers more parameters; other threads are not affected."""
    ours, count = threading.get_ident(), 0

    def note(*_: Any) -> None:
        nonlocal count
        if threading.get_ident() != ours:
            return
        count += 1
        if count > parameters:
            raise ValueError(f"the settings describe a model of more than {parameters:,} parameters")

    hook = register_module_parameter_registration_hook(note)
    try:
        yield
    finally:
        hook.remove()


def outline(build: Callable[[], Model], max_parameters: int) -> Model:
    """Build a model on torch's meta device, where tensors have shapes and no values.

    Raises ValueError at the first parameter beyond `max_parameters`, and whatever `build` raises.
    """
    with torch.device("meta"), _Undrawn(), _at_most(max_parameters):
        return build()


def check_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError at the first name, shape or type in which weights differ from those of a model."""
    own = model.state_dict()
    if unmatched := sorted(own.keys() ^ weights.keys()):
        name = unmatched[0]
        raise ValueError(f"{name} is {'missing' if name in own else 'no weight of this model'}")
    for name, mine in own.items():
        check_alike(name, weights[name], mine)


def check_alike(name: str, given: Tensor, wanted: Tensor) -> None:
    """Raise ValueError where a tensor differs from another one in shape or type."""
    if given.shape != wanted.shape:
        raise ValueError(f"{name} is {sizes(given)}, not {sizes(wanted)}")
    if given.dtype != wanted.dtype:
        raise ValueError(f"{name} holds {_kind(given)}, not {_kind(wanted)}")


def check_finite(name: str, given: Tensor) -> None:
    """Raise ValueError where a tensor holds an infinite value or a NaN."""
    if not given.isfinite().all():
        raise ValueError(f"{name} is not finite")


def take_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Make these tensors, not copies, the weights of an outlined model; raises ValueError as `check_weights`."""
    check_weights(model, weights)
    model.load_state_dict(dict(weights), assign=True)


def sizes(weight: Tensor) -> str:
    """Return the shape of a tensor, in words."""
    return " x ".join(map(str, weight.shape)) or "one number"


def _kind(weight: Tensor) -> str:
    return str(weight.dtype).removeprefix("torch.")
