"""Source text of the functions that run a whole sequence: matmuls, stages and the gradients of parameters."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from rnncli.kernels.engine.graph import Place
from rnncli.kernels.engine.inputs import Inputs, View
from rnncli.kernels.engine.plan import Plan


class Function(NamedTuple):
    """A function of the text: its name and the arrays that it takes after `called_with`, ends and sizes."""

    name: str
    arrays: tuple[str, ...]


def called_with(plan: Plan) -> str:
    """What the function of a stage takes first: a step, or the first of some sequences and the one after them."""
    return "first, last" if plan.streams else "t"


class Sizes:
    """The integers of a plan, each with its place in the array of sizes."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, int], int] = {}

    def __call__(self, what: str, value: int) -> str:
        return f"n{self.values.setdefault((what, value), len(self.values))}"


def opened(lines: Sequence[str]) -> list[str]:
    """Lines that read the sizes which these lines use."""
    numbers = {int(n) for line in lines for n in re.findall(r"\bn(\d+)\b", line)}
    return [f"n{n} = sizes[{n}]" for n in sorted(numbers)]


def all_steps(plan: Plan, functions: Sequence[Function], *, is_backward: bool) -> list[str]:
    """Lines that run all steps of a direction: matmuls and the functions of the stages."""
    if plan.streams:
        return [_call(functions[0], "0", "len(ends)")]
    found, result = (plan.backward, "r") if is_backward else (plan.forward, "y")
    source = gradient_source if is_backward else operand_source
    lines: list[str] = []
    for stage, function in zip(found.stages, functions, strict=True):
        lines += [f"multiply({source(plan, j)}, w{j}, {result}{j})" for j in stage.matmuls]
        lines.append(_call(function, "t"))
    lines += [f"multiply({source(plan, j)}, w{j}, q{j})" for j in found.last]
    steps = "len(s0) - 2, -1, -1" if is_backward else "len(s0) - 1"
    return [f"for t in range({steps}):", *(f"    {line}" for line in lines)]


def step_loop(name: str, steps: Sequence[str]) -> tuple[Function, str]:
    """The function of the lines that run all steps, with its text."""
    words = {word for line in steps for word in re.findall(r"[(,] *([a-z]+\d*)", line)}
    arrays = tuple(sorted(words - {"t", "ends", "sizes", "len"}))
    return Function(name, arrays), _function(name, arrays, steps)


def whole_sequence(
    plan: Plan, inputs: Inputs, sizes: Sizes, steps: tuple[Sequence[str], Sequence[str]], spare: int
) -> list[str]:
    """The text of `forward` and `backward`, which contain the lines that run all steps.

    `forward` takes (ends, sizes, x, the first state, the inputs) and returns the states and what else is kept;
    `backward` takes (ends, sizes, whether the gradient of x is wanted, x, the inputs, what `forward` returned, the
    gradients of all h and of the last state) and returns the gradients of x, the first state and the inputs. It may
    overwrite `projected`, and the gradients of the last state.
    """
    writer = _Writer(plan, inputs, sizes, spare)
    return [writer.forward(steps[0]), writer.backward(steps[1])]


class _Writer:
    def __init__(self, plan: Plan, inputs: Inputs, sizes: Sizes, spare: int) -> None:
        self.plan, self.graph, self.inputs, self.size, self.spare = plan, plan.graph, inputs, sizes, spare
        self.is_linear = len(inputs.views) > plan.recipes
        self.states = [f"s{n}" for n in range(len(self.graph.fields))]
        self.given = [f"i{n}" for n in range(len(inputs.sources))]
        own = [name for j, name in enumerate(plan.operands) if name[0] == "x" and j not in plan.again]
        self.kept = [*self.states, "projected", *(["kept"] if plan.kept else []), *own]

    def forward(self, steps: Sequence[str]) -> str:
        first = [f"first{n}" for n in range(len(self.states))]
        lines = [f"{s} = state_buffer({value}, len(x))" for s, value in zip(self.states, first, strict=True)]
        lines += self.parameters(is_backward=False)
        lines += self.project()
        plan, graph = self.plan, self.graph
        if plan.kept:
            lines.append(self.array("kept", plan.kept, timed=True))
        for j in plan.run_matmuls():
            name = plan.operands[j]
            lines.append(self.array(f"y{j}", plan.width(j)))
            if name[0] == "x":
                lines.append(self.array(name, graph.matmuls[j].K, timed=True))
        lines += [f"multiply({plan.operands[j]}[0], w{by}, y{by})" for j, by in plan.derivative.merged.items()]
        lines += self.scratch(plan.forward.scratch)
        lines += steps
        lines.append(f"return {', '.join(self.kept)},")
        return _function("forward", ["x", *first, *self.given], lines)

    def project(self) -> list[str]:
        if not self.is_linear:
            return ["projected = x"]
        return [
            self.array("projected", self.graph.sizes["projected"], timed=True),
            "multiply(rows(x), wx, rows(projected))",
        ]

    def parameters(self, *, is_backward: bool) -> list[str]:
        """Lines that copy weights and vectors from the inputs; backward, weights are transposed."""
        lines = []
        for j in self.plan.run_matmuls():
            views = [self.inputs.views[k] for k in self.plan.weights(j)]
            K, N = self.size(f"rows {j}", self.graph.matmuls[j].K), self.size(f"columns {j}", self.plan.width(j))
            lines.append(f"w{j} = np.empty(({f'{N}, {K}' if is_backward else f'{K}, {N}'}), x.dtype)")
            begin = 0
            for view in views:
                lines.append(self.copied(view, f"w{j}", begin, is_backward))
                begin += view.shape[1]
        if self.is_linear:
            view = self.inputs.views[-1]
            D, P = self.size("D", view.shape[0]), self.size("P", view.shape[1])
            lines.append(
                f"wx = np.empty(({P}, {D}), x.dtype)" if is_backward else f"wx = np.empty(({D}, {P}), x.dtype)"
            )
            lines.append(self.copied(view, "wx", 0, is_backward))
        if self.plan.vectors:
            lines.append(f"v = np.empty({self.size('vectors', self.total())}, x.dtype)")
        for name, begin in self.plan.vectors.items():
            view = self.inputs.views[int(name[1:])]
            lines.append(f"gather_vector({self.flat(view)}, v, {self.vector(name, begin)})")
        return lines

    def copied(self, view: View, weight: str, begin: int, is_backward: bool) -> str:
        """A call that copies a view (K, N) to columns of a weight, or its transpose to rows."""
        arguments = f"{self.flat(view)}, {self.numbers(view, begin)}"
        return f"gather_{'rows' if is_backward else 'columns'}({weight}, {arguments})"

    def vector(self, name: str, begin: int) -> str:
        """Where a vector begins in `v`, and its size."""
        return f"{self.size(f'begin {name}', begin)}, {self.size(f'size {name}', self.graph.sizes[name])}"

    def numbers(self, view: View, begin: int) -> str:
        """The strides and sizes of a view, and where it begins in a weight."""
        place = self.inputs.views.index(view)
        return ", ".join(self.size(f"view {place} {k}", n) for k, n in enumerate((*view.strides, *view.shape, begin)))

    def flat(self, view: View) -> str:
        place = self.inputs.views.index(view)
        return f"i{view.input}.reshape(-1)[{self.size(f'offset {place}', view.offset)}:]"

    def total(self) -> int:
        return sum(self.graph.sizes[name] for name in self.plan.vectors)

    def array(self, name: str, size: int, *, timed: bool = False, zero: bool = False) -> str:
        shape = f"({'len(x), ' if timed else ''}len(ends), {self.size(f'features {name}', size)})"
        return f"{name} = np.{'zeros' if zero else 'empty'}({shape}, x.dtype)"

    def scratch(self, size: int) -> list[str]:
        return [self.array("scratch", size), f"spare = np.empty({self.size('spare', self.spare)}, x.dtype)"]

    # backward

    def backward(self, steps: Sequence[str]) -> str:
        plan = self.plan
        last = [f"c{n}" for n in range(len(self.states))]
        lines = self.parameters(is_backward=True)
        lines += self.backward_arrays()
        lines += steps
        lines += [f"added(c{plan.operands[j][1:]}, q{j})" for j in plan.backward.last]
        for j, by in plan.derivative.merged.items():
            lines += [
                f"e{by}[:, :{self.size(f'own {by}', self.graph.matmuls[by].N)}] = 0",
                f"multiply(e{by}, w{by}, r{by})",
            ]
            lines.append(f"added(c{plan.operands[j][1:]}, r{by})")
        lines += [f"d_{name} = np.zeros_like({name})" for name in self.given]
        lines += self.weight_gradients()
        lines += self.vector_gradients()
        results = ["d_x", *last, *(f"d_{name}" for name in self.given)]
        lines.append(f"return {', '.join(results)}")
        return _function("backward", ["of_x", "x", *self.given, *self.kept, "dout", *last], lines)

    def backward_arrays(self) -> list[str]:
        plan, graph = self.plan, self.graph
        lines = [] if plan.in_place else [self.array("dp", graph.sizes["projected"], timed=True)]
        for j, m in enumerate(graph.matmuls):
            if j not in plan.derivative.merged:
                lines.append(self.array(f"q{j}" if j in plan.derivative.carried else f"r{j}", m.K, zero=True))
                if plan.has_copy(j):
                    lines.append(self.array(f"e{j}", plan.width(j), zero=True))
            if own := plan.own_gradients(j):
                lines.append(self.array(f"d{j}", own, timed=True))
            if j in plan.again:
                lines.append(self.array(f"x{j}", m.K, timed=True))
        lines += [self.array(f"b{n}", graph.sizes[f"s{n}"]) for n in plan.copies]
        if plan.vectors:
            lines.append(self.array("acc", self.total(), zero=True))
        return lines + self.scratch(plan.backward.scratch)

    def weight_gradients(self) -> list[str]:
        plan, lines = self.plan, []
        dp = "projected" if plan.in_place else "dp"
        for j, m in enumerate(self.graph.matmuls):
            name, parts = plan.operands[j], plan.d_parts[j]
            x = f"s{name[1:]}[1:]" if name[0] == "n" else name
            sources = [dp if place.array == "dp" else place.array for place in parts]
            if plan.has_copy(j) or len(parts) > 1:
                sources = [f"{d}[:, :, {self.part(place)}]" for d, place in zip(sources, parts, strict=True)]
            found = [f"weight_gradient({d}, {x})" for d in sources]
            lines.append(f"g = {found[0]}" if len(found) == 1 else f"g = np.concatenate(({', '.join(found)}))")
            begin = 0
            for k in m.weights:
                lines.append(self.scattered(self.inputs.views[k], begin))
                begin += self.inputs.views[k].shape[1]
        if not self.is_linear:
            return [*lines, f"d_x = {dp}"]
        lines += ["d_x = np.empty_like(x if of_x else x[:0])", f"multiply(rows({dp}[: len(d_x)]), wx, rows(d_x))"]
        return [*lines, f"g = weight_gradient({dp}, x)", self.scattered(self.inputs.views[-1], 0)]

    def scattered(self, view: View, begin: int) -> str:
        return f"scatter_rows(g, d_{self.flat(view)}, {self.numbers(view, begin)})"

    def vector_gradients(self) -> list[str]:
        plan, lines = self.plan, []
        if not plan.vectors:
            return []
        lines.append("sums = total(acc.reshape(1, acc.shape[0], acc.shape[1]))")
        arrays = dict.fromkeys(place.array for _, place in plan.sums)
        dp = "projected" if plan.in_place else "dp"
        lines += [f"total_{array} = total({dp if array == 'dp' else array})" for array in arrays]
        for target, place in plan.sums:
            lines.append(f"sums[{self.part(target)}] = total_{place.array}[{self.part(place)}]")
        for name, begin in plan.vectors.items():
            view = self.inputs.views[int(name[1:])]
            lines.append(f"scatter_vector(sums, d_{self.flat(view)}, {self.vector(name, begin)})")
        return lines

    def part(self, place: Place) -> str:
        start, n = self.size(f"start {place.array}", place.start), self.size("length", place.length)
        if place.stride == 1:
            return f"{start}:{start} + {n}"
        step = self.size(f"stride {place.array}", place.stride)
        return f"{start}:{start} + {n} * {step}:{step}"


def _function(name: str, arguments: Sequence[str], lines: Sequence[str]) -> str:
    body = [*opened(lines), *lines]
    return "\n".join([f"def {name}(ends, sizes, {', '.join(arguments)}):", *(f"    {line}" for line in body)])


def _call(function: Function, *first: str) -> str:
    return f"{function.name}({', '.join([*first, 'ends', 'sizes', *function.arrays])})"


def operand_source(plan: Plan, j: int) -> str:
    """The operand of a matmul at step t."""
    array = plan.operands[j]
    return f"s{array[1:]}[t + 1]" if array[0] == "n" else f"{array}[t]"


def gradient_source(plan: Plan, j: int) -> str:
    """The gradient of a matmul's result at step t."""
    if plan.has_copy(j):
        return f"e{j}"
    array = plan.d_parts[j][0].array
    return f"{'projected' if plan.in_place and array == 'dp' else array}[t]"
