"""The cells as the kernels see them: what a step multiplies with what, and its pointwise equations both ways.

A step has one or two stages; the second sees results of the first through a matrix. A stage is a pair of functions on
tiles. `forward(a, v, F)` takes the pre-activations a of all blocks, with the matmuls that its stage reads already
added, and the values v so far (the old state, then the results of earlier stages), and returns its results.
`backward(d, p, v, F)` takes the gradients d of the new state's fields, the gradient p that flows through matmuls from
this stage's blocks to the earlier stage's results, and all values v. It returns the gradients of the pre-activations it
reads, and d for the stage before it: in the end, of the old state, without what reaches it through matmuls.
"""

from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import triton
import triton.language as tl


@triton.jit
def sigmoid(x):
    e = tl.exp(-tl.abs(x))  # never overflows
    return tl.where(x >= 0, 1.0, e) / (1.0 + e)


@triton.jit
def tanh(x):
    e = tl.exp(-2.0 * tl.abs(x))
    y = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0, -y, y)


@triton.jit
def activate(x, F: tl.constexpr):
    if F == "tanh":
        return tanh(x)
    elif F == "sigmoid":
        return sigmoid(x)
    else:
        tl.static_assert(F == "relu")
        return tl.where(x < 0.0, 0.0, x)  # keeps a NaN


@triton.jit
def slope(y, F: tl.constexpr):
    """Return the derivative of an activation, from its value."""
    if F == "tanh":
        return 1.0 - y * y
    elif F == "sigmoid":
        return y * (1.0 - y)
    else:
        return tl.where(y <= 0.0, 0.0, 1.0)


@triton.jit
def elman(a, v, F: tl.constexpr):
    return (activate(a[0], F),)


@triton.jit
def elman_backward(d, p, v, F: tl.constexpr):
    return (d[0] * slope(v[1], F),), (tl.zeros_like(d[0]),)


@triton.jit
def blend(a, v, F: tl.constexpr):
    candidate, z = activate(a[0], F), sigmoid(a[1])
    return v[0] + z * (candidate - v[0]), candidate, z


@triton.jit
def blend_backward(d, p, v, F: tl.constexpr):
    old, _, candidate, z = v
    return (d[0] * z * slope(candidate, F), d[0] * (candidate - old) * z * (1.0 - z)), (d[0] * (1.0 - z),)


@triton.jit
def reset_before(a, v, F: tl.constexpr):
    r, z = sigmoid(a[0]), sigmoid(a[1])
    return r, z, r * v[0]


@triton.jit
def reset_before_backward(d, p, v, F: tl.constexpr):
    old, r, z, _, candidate, _ = v
    return (p * old * r * (1.0 - r), d[0] * (candidate - old) * z * (1.0 - z)), (d[0] * (1.0 - z) + p * r,)


@triton.jit
def candidate_after_reset(a, v, F: tl.constexpr):
    candidate = activate(a[2], F)
    return candidate, v[0] + v[2] * (candidate - v[0])


@triton.jit
def candidate_after_reset_backward(d, p, v, F: tl.constexpr):
    return (d[0] * v[2] * slope(v[4], F),), d


@triton.jit
def reset_after(a, v, F: tl.constexpr):
    r, z = sigmoid(a[0]), sigmoid(a[1])
    candidate = activate(a[2] + r * a[3], F)
    return v[0] + z * (candidate - v[0]), r, z, candidate, a[3]


@triton.jit
def reset_after_backward(d, p, v, F: tl.constexpr):
    old, _, r, z, candidate, seen = v
    inner = d[0] * z * slope(candidate, F)
    dz = d[0] * (candidate - old) * z * (1.0 - z)
    return (inner * seen * r * (1.0 - r), dz, inner, inner * r), (d[0] * (1.0 - z),)


@triton.jit
def memory(a, v, F: tl.constexpr):
    i, f, g = sigmoid(a[0]), sigmoid(a[1]), tanh(a[2])
    return f * v[1] + i * g, i, f, g


@triton.jit
def memory_backward(d, p, v, F: tl.constexpr):
    _, old, _, i, f, g, _, _ = v
    dc = d[1] + p
    gates = (dc * g * i * (1.0 - i), dc * old * f * (1.0 - f), dc * i * (1.0 - g * g))
    return gates, (tl.zeros_like(dc), dc * f)


@triton.jit
def output(a, v, F: tl.constexpr):
    o = sigmoid(a[3])
    return o, o * tanh(v[2])


@triton.jit
def output_backward(d, p, v, F: tl.constexpr):
    o, squashed = v[6], tanh(v[2])
    dc = d[1] + d[0] * o * (1.0 - squashed * squashed)
    return (d[0] * squashed * o * (1.0 - o),), (d[0], dc)


class Stage(NamedTuple):
    """One stage of a step: its functions, the blocks of pre-activations it reads, the values it gives."""

    forward: Any  # the two jitted functions
    backward: Any
    reads: str
    gives: str


class Term(NamedTuple):
    """One matmul of a step: a block's pre-activation sees a value through a matrix or a vector."""

    operand: int  # index of the value; -1 is the constant 1
    tile: int  # which of the matrices, or of the vectors
    block: int
    dense: bool
    stage: int  # the stage that reads the block


class Launch(NamedTuple):
    """The stages from start to stop, and for every value whether they see it through a matrix."""

    start: int
    stop: int
    multiplies: tuple[bool, ...]


class Recipe:
    """A cell for the kernels. Names are separated by blanks; a prime marks the state before the step.

    `dense` and `vectors` list which value each block sees through a matrix or a vector, in the order of the form's
    weights. The first `projected` blocks receive a projection of the input.
    """

    def __init__(
        self,
        name: str,
        state: str,
        blocks: str,
        projected: int,
        stages: tuple[Stage, ...],
        dense: tuple[tuple[str, str], ...],
        vectors: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.name, self.projected, self.stages = name, projected, stages
        self.state, self.blocks = tuple(state.split()), tuple(blocks.split())
        self.sees = {True: dense, False: vectors}

    def __repr__(self) -> str:
        return f"Recipe({self.name})"

    @cached_property
    def cache_key(self) -> str:
        """The dependencies of a compiled kernel besides its own source; triton's disk cache asks for them."""
        sources = [function.cache_key for stage in self.stages for function in (stage.forward, stage.backward)]
        return f"{self.name} {self.terms} {self.spans} {' '.join(sources)}"

    @cached_property
    def values(self) -> tuple[str, ...]:
        """All values of a step: the old state, then what each stage gives."""
        given = " ".join(stage.gives for stage in self.stages).split()
        return (*(f"{field}'" for field in self.state), *given)

    @cached_property
    def new(self) -> tuple[int, ...]:
        """The indices of the new state's fields among the values."""
        return tuple(self.values.index(field) for field in self.state)

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """The range of values that each stage gives: from, to."""
        ends = [len(self.state)]
        for stage in self.stages:
            ends.append(ends[-1] + len(stage.gives.split()))
        return tuple(pairwise(ends))

    @cached_property
    def reads(self) -> tuple[tuple[int, ...], ...]:
        """The blocks that each stage reads."""
        return tuple(tuple(map(self.blocks.index, stage.reads.split())) for stage in self.stages)

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """All matmuls of a step."""
        found = []
        for dense, sees in self.sees.items():
            pairs = [(seen, block) for seen, blocks in sees for block in blocks.split()]
            for tile, (seen, name) in enumerate(pairs):
                block = self.blocks.index(name)
                stage = next(k for k, reads in enumerate(self.reads) if block in reads)
                operand = -1 if seen == "1" else self.values.index(seen)
                found.append(Term(operand, tile, block, dense, stage))
        return tuple(found)

    @cached_property
    def is_new(self) -> tuple[bool, ...]:
        """For every value, whether it is a field of the new state."""
        return tuple(k in self.new for k in range(len(self.values)))

    @cached_property
    def multiplies(self) -> tuple[bool, ...]:
        """For every value, whether it is seen through a matrix."""
        return self._multiplies(0, len(self.stages))

    def _multiplies(self, start: int, stop: int) -> tuple[bool, ...]:
        seen = {term.operand for term in self.terms if term.dense and start <= term.stage < stop}
        return tuple(k in seen for k in range(len(self.values)))

    @cached_property
    def launches(self) -> tuple[Launch, ...]:
        """The launches of a step, for programs that each hold some of the columns.

        A matrix that shows a stage the result of another stage of the same step needs all its columns: a new launch.
        """
        across = {term.stage for term in self.terms if term.dense and term.operand >= len(self.state)}
        spans = pairwise([0, *sorted(across), len(self.stages)])
        return tuple(Launch(start, stop, self._multiplies(start, stop)) for start, stop in spans)


_LSTM = (Stage(memory, memory_backward, "i f g", "c i f g"), Stage(output, output_backward, "o", "o h"))
_ALL = [
    Recipe("elman", "h", "h", 1, (Stage(elman, elman_backward, "h", "h"),), (("h'", "h"),)),
    Recipe("rated", "h", "n z", 2, (Stage(blend, blend_backward, "n z", "h n z"),), (("h'", "n z"),)),
    Recipe(
        "gru:reset-before",
        "h",
        "r z n",
        3,
        (
            Stage(reset_before, reset_before_backward, "r z", "r z s"),
            Stage(candidate_after_reset, candidate_after_reset_backward, "n", "n h"),
        ),
        (("h'", "r z"), ("s", "n")),
    ),
    Recipe(
        "gru:reset-after",
        "h",
        "r z n q",
        3,
        (Stage(reset_after, reset_after_backward, "r z n q", "h r z n q"),),
        (("h'", "r z q"),),
        (("1", "q"),),
    ),
    Recipe("lstm:none", "h c", "i f g o", 4, _LSTM, (("h'", "i f g o"),)),
    Recipe("lstm:diagonal", "h c", "i f g o", 4, _LSTM, (("h'", "i f g o"),), (("c'", "i f"), ("c", "o"))),
    Recipe("lstm:full", "h c", "i f g o", 4, _LSTM, (("h'", "i f g o"), ("c'", "i f"), ("c", "o"))),
]
RECIPES = {recipe.name: recipe for recipe in _ALL}
