"""Tracing: one call of a cell's `step`, recorded as nodes over numbered features.

The call computes real numbers on a copy of the cell in double precision; torch's dispatch shows each operation. Shape
operations are repeated on the numbers of the features, so they leave no trace. Operations on parameters only become
`Prepared` tensors, computed once per sequence. Shapes: B batch, P projected features, S features of a state's field.
"""

import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rnncli.kernels.engine.facts import TABLES, content
from rnncli.kernels.engine.graph import Node, Untraceable

FEW = 8
"""Features. Sums over at most this many are additions, position by position; at most twice as many sums are loops."""


@dataclass(frozen=True)
class Leaf:
    """A tensor that the cell holds: a parameter, a buffer, or an attribute, by its module's path and its name."""

    module: str
    name: str


@dataclass(frozen=True)
class Fixed:
    """A constant tensor that the step makes, or finds outside the cell."""

    shape: tuple[int, ...]
    data: bytes
    dtype: torch.dtype

    def tensor(self) -> Tensor:
        return torch.frombuffer(bytearray(self.data), dtype=self.dtype).view(self.shape)


@dataclass(frozen=True)
class Call:
    """An operation on leaves and constants only; recipes take the places of its tensors."""

    function: Any
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...] = ()
    part: int | None = None  # of a list of results


Recipe = Leaf | Fixed | Call
"""How a tensor is computed that does not depend on the input or the state."""


@dataclass
class Trace:
    """One step as nodes; `outputs` are the numbers of the nodes that pack the new state."""

    nodes: list[Node] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    prepared: list[Recipe] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def canonical(self) -> tuple[Any, ...]:
        """A value that is equal for equal traces."""
        nodes = [(n.op, tuple(each.tobytes() for each in n.operands), n.length, n.extra) for n in self.nodes]
        return tuple(nodes), tuple(self.outputs), tuple(map(repr, self.prepared)), tuple(self.sizes.items())


class Value(NamedTuple):
    """A traced tensor: the codes of its elements, or a recipe; a code is (element * 8 + sequence + 1, or + 0)."""

    codes: Tensor | None = None
    recipe: Recipe | None = None


def tensors_of(cell: Any) -> dict[Leaf, Tensor]:
    """Every tensor that the cell's modules hold, by module and name; an attribute hides a parameter of its name."""
    found: dict[Leaf, Tensor] = {}
    for path, module in cell.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        own += [(name, value) for name, value in vars(module).items() if isinstance(value, Tensor)]
        found.update({Leaf(path, name): value for name, value in own})
    return found


def twin_of(cell: Any, generator: torch.Generator) -> Any:
    """A copy of the cell in double precision with random numbers in place of its floating-point tensors."""
    memo: dict[int, Any] = {}
    for tensor in tensors_of(cell).values():
        if tensor.is_floating_point():
            made = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * 0.3
            memo[id(tensor)] = torch.nn.Parameter(made) if isinstance(tensor, torch.nn.Parameter) else made
        else:
            memo[id(tensor)] = tensor.detach().to("cpu", copy=True)
    try:
        return deepcopy(cell, memo)
    except Exception as error:  # an attribute may refuse
        raise Untraceable(f"it cannot be copied: {type(error).__name__}: {error}") from None


class Linear(NamedTuple):
    """A projection of the inputs that is a product with a weight (D, P) and, with a bias, a sum with a vector (P,)."""

    weight: Recipe
    bias: Recipe | None


def linear_projection(cell: Any, x: Tensor) -> Linear | None:
    """The projection of a copy of a cell, from inputs (B, D); None if it is anything else, or cannot be traced."""
    mode = dispatch_mode()
    if mode is None:
        return None
    recorder = Recorder(cell, {"x": x})
    try:
        with torch.no_grad(), mode(recorder):
            made = cell.project(x[None])
        axis, (elements,), _ = recorder.join([recorder.codes(made)])
    except Exception:  # the projection then stays as it is
        return None
    parts = _matmuls_of(recorder, elements) if axis == 1 else None
    if parts is None:
        return None
    weights, biases = [weight for weight, _, _ in parts], [bias for _, bias, _ in parts]
    if all(bias is None for bias in biases):
        return Linear(_concatenated(weights, 1), None)
    none = {size: Fixed((size,), bytes(8 * size), torch.float64) for _, _, size in parts}
    return Linear(_concatenated(weights, 1), _concatenated([bias or none[size] for _, bias, size in parts], 0))


def _matmuls_of(recorder: "Recorder", elements: Any) -> list[tuple[Recipe, Recipe | None, int]] | None:
    """The weight, the bias and the width of each product of x in a row of elements, if it has nothing else."""
    nodes, offsets, prepared = recorder.trace.nodes, np.array(recorder.offsets), recorder.trace.prepared

    def whole(place: int, row: Any) -> bool:
        return np.array_equal(row, offsets[place] + np.arange(nodes[place].length))

    found, begin = [], 0
    while begin < len(elements):
        place = int(np.searchsorted(offsets, elements[begin], "right")) - 1
        size = nodes[place].length
        of_sum = nodes[place].operands if nodes[place].op == "add" else (elements[begin : begin + size],)
        if not whole(place, elements[begin : begin + size]):
            return None
        within = [int(np.searchsorted(offsets, row[0], "right")) - 1 for row in of_sum]
        kinds = {nodes[each].op: nodes[each] for each in within}
        if not all(map(whole, within, of_sum)) or kinds.keys() not in ({"matmul"}, {"matmul", "load"}):
            return None
        packed = int(np.searchsorted(offsets, kinds["matmul"].operands[0][0], "right")) - 1
        bias = kinds["load"].extra if "load" in kinds else ""
        if not whole(0, nodes[packed].operands[0]) or bias == "x":
            return None
        found.append((prepared[kinds["matmul"].extra[0]], prepared[int(bias[1:])] if bias else None, size))
        begin += size
    return found


def _concatenated(recipes: Sequence[Recipe], axis: int) -> Recipe:
    return recipes[0] if len(recipes) == 1 else Call(torch.ops.aten.cat.default, (list(recipes), axis))


def trace(cell: Any, projected: Tensor, state: Sequence[Tensor], bias: Recipe | None = None) -> Trace:
    """Record one step of a copy of a cell, with a bias of the projected input that is not in it so far.

    Raises Untraceable, and whatever the step raises.
    """
    mode = dispatch_mode()
    if mode is None:
        raise Untraceable("this torch cannot show the operations of a step")
    before = _attributes(cell)
    recorder = Recorder(cell, {"projected": projected, **{f"s{n}": value for n, value in enumerate(state)}})
    if bias is not None:
        vector = Value(recorder.vector(bias, projected.shape[1:]))
        recorder.keep(projected, recorder.point("add", projected, vector))
    with torch.no_grad(), ValueGuard(recorder), mode(recorder):
        after = cell.step(projected, type(state)(*state) if hasattr(state, "_fields") else state)
    if _attributes(cell) != before:
        raise Untraceable(f"step changes the cell's attributes ({_changed(before, _attributes(cell))})")
    return recorder.finish(after, [value.shape for value in state])


def dispatch_mode() -> Any:
    """A context that shows a recorder each operation of torch; None if this torch has no such context."""
    try:
        Mode: Any = getattr(import_module("torch.utils._python_dispatch"), "TorchDispatchMode", None)
    except ImportError:
        return None
    if Mode is None:
        return None

    class Shown(Mode):  # type: ignore[misc]  # mypy does not know a class that is found at run time
        """Hands every operation to the recorder."""

        def __init__(self, recorder: "Recorder") -> None:
            super().__init__()
            self.recorder = recorder

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False  # which would import torch's compiler, a second's work

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            self.recorder.is_recording = True
            try:
                return self.recorder.record(func, args, kwargs or {})
            finally:
                self.recorder.is_recording = False

    return Shown


class ValueGuard(TorchFunctionMode):
    """Refuses methods that give the step a tensor's values, of which dispatch shows nothing."""

    def __init__(self, recorder: "Recorder") -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if getattr(func, "__name__", "") in ("tolist", "numpy", "__array__") and not self.recorder.is_recording:
            raise Untraceable(f"step reads a tensor's value, so that it may branch on data{self.recorder.place()}")
        return func(*args, **(kwargs or {}))


def _attributes(cell: Any) -> dict[str, Any]:
    """What a step may not change: the attributes of every module, and what they contain."""
    return {
        f"{path}.{name}".lstrip("."): id(value) if isinstance(value, Tensor) else content(value)
        for path, module in cell.named_modules()
        for own in (vars(module), *(vars(module)[table] for table in TABLES))
        for name, value in own.items()
        if name not in TABLES
    }


def _changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    return ", ".join(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))


class Recorder:
    """Turns the operations of a step into nodes."""

    def __init__(self, cell: Any, inputs: dict[str, Tensor]) -> None:
        self.trace = Trace()
        self.alive: list[Any] = []
        self.values: dict[int, Value] = {}
        self.inputs = list(inputs.values())
        self.cell_class = type(cell)
        self.is_recording = False
        self.offset = 0
        self.offsets: list[int] = []
        self.numbers: dict[tuple[str, float], Tensor] = {}
        self.known: dict[Any, Tensor] = {}
        for leaf, tensor in tensors_of(cell).items():
            self.keep(tensor, Value(recipe=leaf))
        for name, tensor in inputs.items():
            B, N = tensor.shape
            self.B = B
            self.trace.sizes[name] = N
            self.keep(tensor, Value(self.node(Node("load", (), N, name), (B,))))

    # values

    def keep(self, tensor: Tensor, value: Value) -> None:
        """Remember what a tensor is; it must live on, since its identity names it."""
        self.alive.append(tensor)
        self.values[id(tensor)] = value

    def node(self, node: Node, batch: tuple[int, ...] = ()) -> Tensor:
        """Add a node; return the codes of its elements, (B, N) with a batch and (N,) without."""
        self.trace.nodes.append(node)
        self.offsets.append(self.offset)
        codes = (torch.arange(node.length) + self.offset) * 8
        self.offset += node.length
        return codes + torch.arange(1, batch[0] + 1)[:, None] if batch else codes

    def number(self, value: float, op: str = "const") -> Tensor:
        """The code of a constant."""
        key = (op, float(value))
        if key not in self.numbers:
            self.numbers[key] = self.node(Node(op, (), 1, float(value))).view(())
        return self.numbers[key]

    def codes(self, value: Any) -> Tensor:
        """The codes of a tensor, or of a number."""
        if isinstance(value, Value) and value.codes is not None:
            return value.codes
        if not isinstance(value, Tensor):
            return self.number(float(value))
        found = self.value(value)
        if found.codes is not None:
            return found.codes
        assert found.recipe is not None
        key = repr(found.recipe)
        if key not in self.known:
            if isinstance(found.recipe, Fixed) and _uniform(value):
                made = self.number(float(value.flatten()[0])).expand(value.shape)
            else:
                made = self.vector(found.recipe, value.shape)
            self.known[key] = made
        return self.known[key]

    def vector(self, recipe: Recipe, shape: Sequence[int]) -> Tensor:
        """The codes of a prepared tensor."""
        place, size = self.prepare(recipe), int(np.prod(shape))
        self.trace.sizes[f"v{place}"] = size
        return self.node(Node("load", (), size, f"v{place}")).view(tuple(shape))

    def prepare(self, recipe: Recipe) -> int:
        """The number of a prepared tensor."""
        texts = [repr(each) for each in self.trace.prepared]
        if repr(recipe) not in texts:
            self.trace.prepared.append(recipe)
            return len(texts)
        return texts.index(repr(recipe))

    def value(self, tensor: Tensor) -> Value:
        """What a tensor is; one that nobody has seen is a constant."""
        if id(tensor) not in self.values:
            if tensor.requires_grad:
                raise Untraceable(f"step uses a parameter that the cell does not hold{self.place()}")
            self.keep(tensor, Value(recipe=_fixed(tensor)))
        return self.values[id(tensor)]

    def is_prepared(self, tensor: Tensor) -> bool:
        return self.value(tensor).codes is None

    # recording

    def record(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Compute an operation and record it."""
        name = str(func).split(".")[1]
        self.refuse_impure(name, func)
        result = func(*args, **kwargs)
        tensors = [each for each in _flat((args, tuple(kwargs.values()))) if isinstance(each, Tensor)]
        outs = [result] if isinstance(result, Tensor) else list(result) if isinstance(result, list | tuple) else []
        if name.startswith(("empty", "new_empty")):
            pass  # of no value so far
        elif name.endswith("_") and not name.startswith("_"):
            self.change(func, name, args, kwargs)
        elif name in _FILLED:
            self.prepared_call(func, args, kwargs, outs, [])
        elif all(map(self.is_prepared, tensors)) and name not in _SPREADS:
            self.prepared_call(func, args, kwargs, outs, tensors)
        else:
            found = self.apply(name, func, args, kwargs)
            for tensor, codes in zip(outs, found if isinstance(found, list | tuple) else [found], strict=False):
                if codes is not None:
                    self.agree(name, tensor, codes)
                    self.keep(tensor, Value(codes))
        return result

    def agree(self, name: str, tensor: Tensor, codes: Tensor) -> None:
        if tensor.shape != codes.shape:
            raise Untraceable(f"{name} gave another shape than the engine expects{self.place()}")

    def refuse_impure(self, name: str, func: Any) -> None:
        """Refuse random operations, and values that become numbers of Python."""
        tags = getattr(func, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags:
            raise Untraceable(f"{name.rstrip('_')} is random{self.place()}")
        if name in ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique"):
            raise Untraceable(f"step reads a tensor's value, so that it may branch on data{self.place()}")

    def apply(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The codes of an operation's results."""
        if name in SHAPES:
            given = _mapped(args, lambda each: self.codes(each) if isinstance(each, Tensor) else each)
            return func(*given, **kwargs)
        if name in ("any", "all"):
            raise Untraceable(f"step may branch on data: {name}{self.place()}")
        if name not in RULES:
            raise Untraceable(f"the engine has no rule for {name}{self.place()}")
        found = RULES[name](self, *args, **kwargs)
        return [each.codes for each in found] if isinstance(found, list) else found.codes

    def prepared_call(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outs: list[Any], tensors: list[Tensor]
    ) -> None:
        """Record an operation on parameters only, or on constants."""
        if all(isinstance(self.value(each).recipe, Fixed) for each in tensors):
            for tensor in outs:
                self.keep(tensor, Value(recipe=_fixed(tensor)))
            return

        def recipe_of(each: Any) -> Any:
            return self.value(each).recipe if isinstance(each, Tensor) else each

        more = tuple((key, *_mapped((value,), recipe_of)) for key, value in kwargs.items())
        for part, tensor in enumerate(outs):
            call = Call(func, _mapped(args, recipe_of), more, None if len(outs) == 1 else part)
            self.keep(tensor, Value(recipe=call))

    def change(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record an operation in place as a new value of a tensor that nothing else shares."""
        target = args[0]
        shared = [
            each
            for each in self.alive
            if each is not target and each.untyped_storage().data_ptr() == target.untyped_storage().data_ptr()
        ]
        if shared or self.is_prepared(target) or any(target is each for each in self.inputs):
            raise Untraceable(f"{name} changes the state, or a tensor that is in use elsewhere{self.place()}")
        codes = self.apply(name.rstrip("_"), func, args, kwargs)
        self.agree(name, target, codes)
        self.values[id(target)] = Value(codes)

    def place(self) -> str:
        """Where in the user's file the step is now."""
        frame = sys._getframe()
        found = ""
        while frame is not None:
            file = frame.f_code.co_filename
            if frame.f_code.co_name == "step" or file == _file_of(self.cell_class):
                found = f" ({Path(file).name}, line {frame.f_lineno})"
                break
            frame = frame.f_back  # type: ignore[assignment]
        return found

    # building values

    def join(self, operands: Sequence[Tensor]) -> tuple[int | None, list[Any], tuple[int, ...]]:
        """The axis of the batch, each operand's elements in the order of the other axes, and the whole shape."""
        operands = torch.broadcast_tensors(*operands)
        shape = tuple(operands[0].shape)
        parts = torch.stack([each & 7 for each in operands])
        batch = parts.amax(0)
        if not ((parts == 0) | (parts == batch)).all():
            raise Untraceable(f"step mixes the sequences of the batch{self.place()}")
        if not batch.any():
            return None, [(each >> 3).flatten().numpy() for each in operands], shape
        for axis, size in enumerate(shape):
            line = torch.arange(1, self.B + 1).view([-1 if k == axis else 1 for k in range(len(shape))])
            if size == self.B and (batch == line).all():
                break
        else:
            raise Untraceable(f"step mixes the sequences of the batch{self.place()}")
        rows = [(each >> 3).movedim(axis, 0).reshape(self.B, -1) for each in operands]
        if any((row != row[0]).any() for row in rows):
            raise Untraceable(f"step treats the sequences of the batch differently{self.place()}")
        return axis, [row[0].numpy() for row in rows], shape

    def spread(self, elements: Tensor, axis: int | None, shape: tuple[int, ...]) -> Tensor:
        """The codes (N,) of a new value, in the shape of a tensor."""
        if axis is None:
            return elements.view(shape)
        rest = [size for k, size in enumerate(shape) if k != axis]
        batched = elements.view(1, *rest) + torch.arange(1, self.B + 1).view(-1, *[1] * len(rest))
        return batched.movedim(0, axis)

    def point(self, op: str, *operands: Any, extra: Any = None) -> Value:
        """The value of a pointwise operation of tensors, values or numbers."""
        axis, flats, shape = self.join([self.codes(each) for each in operands])
        return Value(self.spread(self.node(Node(op, tuple(flats), len(flats[0]), extra)), axis, shape))

    def reduce(self, op: str, operand: Any, axes: Sequence[int], keep: bool) -> Value:
        """The value of a sum or maximum over axes of the features."""
        codes = self.codes(operand)
        axes = [axis % codes.dim() for axis in axes] or list(range(codes.dim()))
        kept = [axis for axis in range(codes.dim()) if axis not in axes]
        flat = codes.permute(*kept, *axes).flatten(len(kept))
        if (flat & 7).amax(-1).ne((flat & 7).amin(-1)).any():
            raise Untraceable(f"step reduces over the batch{self.place()}")
        axis, (elements,), shape = self.join([flat])
        rows = elements.reshape(-1, shape[-1])
        if shape[-1] <= FEW and shape[-1] < len(rows):
            made = self.folded(op, rows)
        elif len(rows) <= 2 * FEW:
            made = torch.cat([self.node(Node(op, (row,), 1)) for row in rows])
        else:
            raise Untraceable(f"step reduces many groups of features at once{self.place()}")
        result = self.spread(made, axis, tuple(shape[:-1]))
        return Value(result.view([1 if k in axes else codes.shape[k] for k in range(codes.dim())]) if keep else result)

    def folded(self, op: str, rows: Any) -> Tensor:
        """Reduce few columns of elements (N, K) position by position."""
        found = rows[:, 0]
        for column in rows.T[1:]:
            found = (self.node(Node("add" if op == "sum" else "maximum", (found, column), len(column))) >> 3).numpy()
        return torch.from_numpy(np.ascontiguousarray(found)) * 8

    def part(self, weight: Tensor, place: int) -> Recipe:
        """The recipe of one of a stack of prepared matrices."""
        return Call(torch.ops.aten.select.int, (self.value(weight).recipe, 0, place))

    def matmul(self, operand: Any, weight: Recipe, N: int) -> Value:
        """The value (B, N) of a product of (B, K) with a prepared weight (K, N)."""
        axis, (elements,), shape = self.join([self.codes(operand)])
        if axis != 0 or len(shape) != 2:
            raise Untraceable(f"step multiplies by a matrix what is not one row for each sequence{self.place()}")
        packed = (self.node(Node("pack", (elements,), len(elements))) >> 3).numpy()
        made = self.node(Node("matmul", (packed,), N, (self.prepare(weight),)))
        return Value(self.spread(made, 0, (self.B, N)))

    def finish(self, after: Any, shapes: Sequence[tuple[int, ...]]) -> Trace:
        """Pack the new state."""
        if not isinstance(after, tuple) or len(after) != len(shapes):
            raise Untraceable("step does not return a state with the fields it was given")
        for tensor, shape in zip(after, shapes, strict=True):
            if not isinstance(tensor, Tensor) or tuple(tensor.shape) != tuple(shape):
                raise Untraceable("step returns a state of another shape than it was given")
            axis, (flat,), _ = self.join([self.codes(tensor)])
            if axis not in (0, None):
                raise Untraceable("step moves the batch to another axis")
            self.trace.outputs.append(len(self.trace.nodes))
            self.node(Node("pack", (flat[: shape[1]],), shape[1]))
        return self.trace


def _file_of(cell_class: type) -> str:
    module = sys.modules.get(cell_class.__module__)
    return getattr(module, "__file__", None) or ""


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [each for part in value for each in _flat(part)]
    return [value]


def _mapped(values: Any, change: Callable[[Any], Any]) -> tuple[Any, ...]:
    return tuple(
        type(each)(_mapped(each, change)) if isinstance(each, list | tuple) else change(each) for each in values
    )


def _fixed(tensor: Tensor) -> Fixed:
    tensor = tensor.detach().contiguous()
    return Fixed(tuple(tensor.shape), tensor.numpy().tobytes(), tensor.dtype)


def _uniform(value: Tensor) -> bool:
    return value.numel() > 0 and bool((value == value.flatten()[0]).all())


def run_recipe(
    recipe: Recipe, leaf: Callable[[Leaf], Tensor], fixed: Callable[[Fixed], Tensor] = Fixed.tensor
) -> Tensor:
    """Compute a prepared tensor from the cell's own."""
    if isinstance(recipe, Leaf):
        return leaf(recipe)
    if isinstance(recipe, Fixed):
        return fixed(recipe)

    def compute(each: Any) -> Any:
        return run_recipe(each, leaf, fixed) if isinstance(each, Leaf | Fixed | Call) else each

    kwargs = {key: _mapped((value,), compute)[0] for key, value in recipe.kwargs}
    result: Any = recipe.function(*_mapped(recipe.args, compute), **kwargs)
    found: Tensor = result if recipe.part is None else result[recipe.part]
    return found


_SPREADS = frozenset({"expand", "repeat", "repeat_interleave", "expand_as"})
"""Shape operations that may carry the size of the batch: no part of a recipe."""

_FILLED = frozenset({"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"})
"""Operations whose result does not depend on the values of a tensor."""

SHAPES = frozenset(
    {"slice", "split", "split_with_sizes", "chunk", "unbind", "cat", "stack", "transpose", "t", "permute", "view"}
    | {"_unsafe_view", "reshape", "_reshape_alias", "expand", "repeat", "unsqueeze", "squeeze", "select", "narrow"}
    | {"clone", "contiguous", "alias", "flip", "roll", "movedim", "unfold", "diagonal", "index_select", "gather"}
    | {"unsafe_split", "unsafe_chunk", "tile", "expand_as", "lift_fresh"}
)
"""Operations of torch that only move features."""

RULES: dict[str, Callable[..., Any]] = {}
"""Torch's operations by name; each function takes the recorder and the operation's arguments and returns codes."""
