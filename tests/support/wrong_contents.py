"""Checkpoints with a valid checksum and wrong contents: seeded changes of valid ones."""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnncli.training.checkpoint import Checkpoint, to_bytes

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    7,
    10**30,
    0.5,
    -1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "8000",
    [],
    {},
    [None],
    ["x", "x"],
    [[["x"]]],
    {"x": {}},
)


class Variant(NamedTuple):
    """A changed checkpoint: the change, and the file."""

    change: str
    data: bytes


def variants(found: Checkpoint, count: int, seed: int) -> Iterator[Variant]:
    """`count` changed checkpoints; half of the changes are to the header, half to the tensors."""
    draw = random.Random(seed)
    for place in range(count):
        header, tensors = copy.deepcopy(found.header), dict(found.tensors)
        change = _change_header(header, draw) if place % 2 else _change_tensors(tensors, draw)
        yield Variant(change, to_bytes(header, tensors))


def _change_header(header: dict[str, Any], draw: random.Random) -> str:
    """Remove, replace, shorten or repeat one value at any depth, rarely in long lists."""
    parent, key, path = header, "", ""
    value: Any = header
    while isinstance(value, dict | list) and value and (not path or draw.random() < 0.7):
        parent, key = value, draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
        value, path = parent[key], f"{path}.{key}"
    kind = draw.choice(("remove", "replace", "replace", "replace", "halve", "repeat"))
    if kind == "remove":
        del parent[key]
    elif kind == "halve" and isinstance(value, list | str):
        parent[key] = value[: len(value) // 2]
    elif kind == "repeat" and isinstance(value, list):
        parent[key] = value * 2
    else:
        kind, parent[key] = "replace", draw.choice(VALUES)
        return f"header{path} = {parent[key]!r}"
    return f"{kind} header{path}"


def _other_type(value: Tensor, draw: random.Random) -> Tensor:
    return value.to(draw.choice((torch.int64, torch.float64, torch.bool, torch.uint8, torch.bfloat16)))


def _not_finite(value: Tensor, draw: random.Random) -> Tensor:
    return torch.full_like(value, draw.choice((float("nan"), float("inf")))) if value.is_floating_point() else value * 0


def _greatest(value: Tensor, _: random.Random) -> Tensor:
    whole = value.dtype in (torch.int64, torch.uint8)
    return torch.full_like(value, torch.iinfo(value.dtype).max if whole else 1)


TENSOR_CHANGES: dict[str, Callable[[Tensor, random.Random], Tensor]] = {
    "empty": lambda value, _: value.flatten()[:0],
    "flatten": lambda value, _: value.flatten(),
    "lengthen": lambda value, _: torch.cat([value, value]) if value.dim() else value[None],
    "shorten": lambda value, _: value[:-1] if value.dim() else value[None, None],
    "wrap": lambda value, _: value[None],
    "other type": _other_type,
    "not finite": _not_finite,
    "greatest": _greatest,
}


def _change_tensors(tensors: dict[str, Tensor], draw: random.Random) -> str:
    """Change, remove or rename a tensor, or all of its group."""
    group = draw.choice(sorted({name.partition(".")[0] for name in tensors}))
    names = [name for name in tensors if name.startswith(f"{group}.")]
    names = names if draw.random() < 0.2 else [draw.choice(names)]
    kind = draw.choice(("remove", "rename", *TENSOR_CHANGES))
    for name in names:
        value = tensors.pop(name)
        if kind == "rename":
            tensors[f"{name}x"] = value
        elif kind in TENSOR_CHANGES:
            tensors[name] = TENSOR_CHANGES[kind](value, draw).contiguous()
    return f"{kind} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
