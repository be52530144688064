"""A pretended CUDA device: like CUDA's, its tensors cannot be mixed with the CPU's; the CPU computes them.

It detects operations that mix tensors of the CPU with those of the device, and numpy on a tensor of the device. It has
no cuDNN, no triton and no autocast, and rounds as the CPU does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only

CARD = torch.device("meta")
"""The device of its tensors: the only device of torch that autograd supports without a driver."""

aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
"""Operations that may take tensors of both devices."""
PLACES = {
    *(aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default),
    aten._pack_padded_sequence.default,
}
"""Operations that may take indices or lengths on the CPU."""


class OnCard(torch.Tensor):
    """A tensor of the pretended device, with its values on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnCard":
        made: Any = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=CARD
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        """As for plain tensors; torch has no such method for subclasses."""
        return self.detach().cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"OnCard({self.shape}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: Any) -> Any:
    """The result of an operation on the device of its tensors; raises as CUDA does if they are on two devices."""
    seen = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
    placed = [args[0]] if func in PLACES else [each for each in seen if each.dim()]
    on_card = any(isinstance(each, OnCard) for each in seen)
    if on_card and func not in COPIES and not all(isinstance(each, OnCard) for each in placed):
        raise RuntimeError(f"{func}: tensors on two devices, cuda and cpu")
    if func is aten.copy_.default:
        on_card = isinstance(args[0], OnCard)
    if kwargs.get("device") is not None:
        on_card = torch.device(kwargs["device"]) == CARD
        kwargs = kwargs | {"device": torch.device("cpu")}
    plain_args, plain_kwargs = tree_map_only(OnCard, lambda each: each.held, (args, kwargs))
    found = func(*plain_args, **plain_kwargs)
    if not on_card:
        return found
    if func is aten._pack_padded_sequence.default:
        return OnCard(found[0]), found[1]  # the lengths stay on the CPU
    known = {id(each.held): each for each in seen if isinstance(each, OnCard)}  # those that were changed in place
    return tree_map_only(torch.Tensor, lambda each: known[id(each)] if id(each) in known else OnCard(each), found)


class Operations(TorchDispatchMode):
    """Makes tensors of the pretended device where operations ask for CUDA."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class Names(TorchFunctionMode):
    """Gives the device another name, which needs no driver."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(_renamed, (args, kwargs or {}))
        if func is torch.Tensor.new_tensor:
            like, *args = args
            func, kwargs = torch.tensor, {"dtype": like.dtype, "device": like.device} | kwargs
        if func is torch.tensor and kwargs.get("device") == CARD:  # no mode sees its tensors
            return torch.tensor(*args, **kwargs | {"device": "cpu"}).to(CARD)
        return func(*args, **kwargs)


def _renamed(value: Any) -> Any:
    return CARD if isinstance(value, str | torch.device) and str(value).partition(":")[0] in ("cuda", "meta") else value


class OfHost(torch.Generator):
    """A generator of the pretended device: in fact the CPU's."""

    def __new__(cls, device: Any = "cpu") -> "OfHost":
        return super().__new__(cls)


@contextmanager
def pretended_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside this context, torch finds one CUDA device of compute capability 9.0."""
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "_lazy_init", lambda: None)
        patched.setattr(torch.cuda, "is_available", lambda: True)
        patched.setattr(torch.cuda, "device_count", lambda: 1)
        patched.setattr(torch, "get_device_module", lambda *_: torch.cuda)
        patched.setattr(torch, "meta", torch.cuda, raising=False)  # where torch 2.10 looks for it
        patched.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
        patched.setattr(torch, "Generator", OfHost)
        patched.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
        patched.setattr(
            torch.inference_mode, "__enter__", torch.no_grad.__enter__
        )  # it supports tensors of Python subclasses
        patched.setattr(torch.inference_mode, "__exit__", torch.no_grad.__exit__)
        with Names(), Operations():
            yield
