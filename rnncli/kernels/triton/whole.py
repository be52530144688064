"""Source text of the kernels that take their sequences through all steps, with state and weights on chip.

Programs do not wait for one another. Where a step has neither matmuls nor sums over features, a program has a tile of
features only: one pass over memory.
"""

from collections.abc import Sequence

from rnncli.kernels.engine.graph import Graph, Place
from rnncli.kernels.engine.plan import Pass, Plan
from rnncli.kernels.triton.tile import MIN_TILE, Kernel, TileWriter, padded

Weight = tuple[int, Place, Place]
"""Part of the weight of a matmul: the places in its operand and in its result."""


def is_streamed(graph: Graph) -> bool:
    """Whether programs need not have all features of a sequence."""
    return not graph.matmuls and all(piece.op not in ("sum", "max") for piece in graph.pieces)


def keeps_order(graph: Graph) -> bool:
    """Whether a step finds its state in registers as the step before left it there."""
    used = {each for piece in graph.pieces for each in piece.operands}
    used |= {piece for packed in (*graph.fields, *(m.operand for m in graph.matmuls)) for piece, _ in packed}
    return all(
        {graph.pieces[load].extra[1:] for load in graph.inputs[f"s{n}"] if load in used}
        <= {place[1:] for _, place in packed}
        for n, packed in enumerate(graph.fields)
    )


def weight_tiles(plan: Plan) -> list[tuple[int, int]]:
    """The sizes of the tiles of all weights."""
    graph = plan.graph
    return [
        (padded(within.length), padded(graph.pieces[load].length))
        for j, m in enumerate(graph.matmuls)
        for _, within in m.operand
        for load in graph.inputs.get(f"y{j}", ())
    ]


def whole_kernel(plan: Plan, is_backward: bool) -> tuple[Kernel, str]:
    """The kernel of one direction, and its text."""
    writer = BackwardWriter(plan, plan.backward) if is_backward else ForwardWriter(plan, plan.forward)
    text = writer.write("backward" if is_backward else "forward")
    return writer.kernel(is_whole=not is_streamed(plan.graph), rows=1 if is_streamed(plan.graph) else MIN_TILE), text


class WholeWriter(TileWriter):
    """Writes a kernel over all steps."""

    field: str  # the letter of the arrays that are carried from step to step
    counts: str  # which rows of a matmul's operand are not 0

    def __init__(self, plan: Plan, found: Pass) -> None:
        super().__init__(plan, found, "COLUMNS" if is_streamed(plan.graph) else None)
        self.carried: dict[Place, str] = {}  # registers by their places in memory
        self.weights: dict[Weight, str] = {}
        self.operands: dict[int, str] = {}
        self.opened: list[str] = []  # before the loop
        self.kept: list[str] = []  # at the end of a step, only if a backward pass follows
        self.moved: list[str] = []  # at the very end of a step
        self.closed: list[str] = []  # after the loop
        self.stored: set[str] = set()  # registers that have their new value

    def write(self, name: str) -> str:
        """The text of the kernel."""
        self.name = name
        self.carry()
        for stage in self.found.stages:
            for piece in stage.pieces:
                self.compute(piece)
        for stage in self.found.stages:
            for piece, place in stage.stores:
                self.store(piece, place)
        self.finish()
        kept = ["if KEEP:", *(f"    {line}" for line in self.kept)] if self.kept else []
        body = [*self.beginning(), *self.lines, *kept, *self.moved]
        constants = "ROWS: tl.constexpr, COLUMNS: tl.constexpr, KEEP: tl.constexpr, PRECISION: tl.constexpr"
        prefetched = 4 if self.width else 2
        return "\n".join([
            '@triton.jit(do_not_specialize=["T", "B"])',
            f"def {name}({', '.join(self.arrays)}, ends, T, B, {constants}):",
            *(f"    {line}" for line in (*self.opening(), *self.before, *self.opened)),
            f"    for step in tl.range(0, T, num_stages={prefetched}):  # prefetches",
            *(f"        {line}" for line in body),
            *(f"    {line}" for line in self.closed),
        ])  # fmt: skip

    def beginning(self) -> list[str]:
        """Statements that begin a step."""
        raise NotImplementedError

    def carry(self) -> None:
        """Load the state, or its gradient, into the registers that go from step to step."""
        for n, packed in enumerate(self.graph.fields):
            for _, place in packed:
                where, name = place._replace(array=f"{self.field}{n}"), f"{self.field}{n}_{len(self.carried)}"
                address = self.address(where, "rows")
                self.opened.append(f"{name} = tl.load({address}, {self.mask(where)}, other=0.0).to(tl.float32)")
                self.memory[where] = self.carried[where] = name

    def store(self, piece: int, place: Place) -> None:
        """Write what happens with a piece at the end of a step."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write what is left at the end of a step."""

    # matmuls

    def operand(self, piece: int, j: int) -> str:
        """A piece as the operand of a matmul: 0 beyond its features."""
        if piece not in self.operands:
            length, value = self.graph.pieces[piece].length, self.value(piece)
            if length > 1:
                self.lengths.add(length)
            inside = f"in{length}" if length > 1 else "there & (unit < 1)"
            self.operands[piece] = name = f"u{len(self.operands)}"
            self.lines.append(f"{name} = tl.where({self.counts} & {inside}, {value}, 0.0).to(w{j}.dtype.element_ty)")
        return self.operands[piece]

    def weight(self, j: int, inner: Place, outer: Place, *, transposed: bool) -> str:
        """The register of part of a weight (N, K), from input to output, or back if `transposed`."""
        key = (j, inner, outer)
        if key not in self.weights:
            self.arrays[f"w{j}"] = None
            self.weights[key] = name = f"w{j}_{len(self.weights)}"
            k, n = (inner, "[:, None]"), (outer, "[None, :]")
            if transposed:
                k, n = (inner, "[None, :]"), (outer, "[:, None]")
            (k_at, k_in), (n_at, n_in) = _along(*k), _along(*n)
            where = f"w{j} + {n_at} * {self.graph.matmuls[j].K} + {k_at}"
            self.opened.append(f"{name} = tl.load({where}, {k_in} & {n_in}, other=0.0)")
        return self.weights[key]

    def product(self, operands: Sequence[tuple[str, str]], length: int) -> str:
        """The sum of products of operands with weights."""
        name = f"z{len(self.lines)}"
        for number, (operand, weight) in enumerate(operands):
            into = f", {name}" if number else ""
            self.lines.append(f"{name} = tl.dot({operand}, {weight}{into}, input_precision=PRECISION)")
        return self.first_column(name) if length == 1 else name


def _along(place: Place, axis: str) -> tuple[str, str]:
    """The indices of a place along an axis of a weight, and which of them exist."""
    numbers = f"tl.arange(0, {padded(place.length)}){axis}"
    stride = f" * {place.stride}" if place.stride > 1 else ""
    return f"({place.start} + {numbers}{stride})", f"({numbers} < {place.length})"


class ForwardWriter(WholeWriter):
    """Writes the kernel that fills the states; gradients are kept where a backward pass follows."""

    field, counts = "s", "there"

    def beginning(self) -> list[str]:
        return ["now = step * B + rows", "alive = step < end"]

    def result(self, place: Place) -> str:
        j = int(place.array[1:])
        factors = [
            (self.operand(each, j), self.weight(j, within, place, transposed=False))
            for each, within in self.graph.matmuls[j].operand
        ]
        return self.product(factors, place.length)

    def store(self, piece: int, place: Place) -> None:
        kind = place.array[0]
        if place.array == "scratch" or (kind == "x" and int(place.array[1:]) in self.plan.again):
            return
        value = self.value(piece)
        if kind == "n":
            old = self.carried[place._replace(array=f"s{place.array[1:]}")]
            value = self.while_alive(value, old)
            self.moved.append(f"{old} = {value}")
            self.write_tile(place, value)
        else:
            lines, self.lines = self.lines, self.kept
            self.write_tile(place, value)
            self.lines = lines


class BackwardWriter(WholeWriter):
    """Writes the kernel that computes the gradients of all that the step reads."""

    field, counts = "c", "alive"

    def beginning(self) -> list[str]:
        return ["t = T - 1 - step", "now = t * B + rows", "alive = t < end"]

    def finish(self) -> None:
        """Write what leaves the registers; features that the step does not read get no gradient."""
        for place, register in self.carried.items():
            if register not in self.stored:
                self.carry_on(place, "0.0", register)
            self.closed.append(f"tl.store({self.address(place, 'rows')}, {register}, {self.mask(place)})")

    def result(self, place: Place) -> str:
        if place.array[0] == "q":
            return "0.0"  # the register of the gradient has it already
        j = int(place.array[1:])
        return self.product(self.factors(j, place), place.length)

    def factors(self, j: int, place: Place) -> list[tuple[str, str]]:
        """The gradients of a matmul's result, and the weights that lead them back to part of its operand."""
        return [
            (self.operand(each, j), self.weight(j, place, within, transposed=True))
            for each, within in self.plan.derivative.results[j]
        ]

    def store(self, piece: int, place: Place) -> None:
        kind = place.array[0]
        if kind == "e" or place.array == "scratch":
            return
        value = self.value(piece)
        if place.array == "acc":
            name = f"g{len(self.closed)}"
            width = self.columns(place.length) if place.length > 1 else "1"
            self.opened.append(f"{name} = tl.zeros((ROWS, {width}), tl.float32)")
            self.lines.append(f"{name} += {self.while_alive(value)}")
            mask = self.mask(place) if place.length > 1 else "one"
            self.closed.append(f"tl.store({self.address(place)}, {name}, {mask})")
        elif kind == "c" and place in self.carried:
            self.carry_on(place, value, self.carried[place])
        elif kind != "c":
            self.write_tile(place, self.while_alive(value))

    def carry_on(self, place: Place, value: str, register: str) -> None:
        """Write the gradient of part of the old state, with what its matmuls add."""
        self.stored.add(register)
        n = int(place.array[1:])
        arriving = f"{register} + {self.read(place._replace(array='dout'))}" if n == 0 else register
        total = self.while_alive(value, arriving)
        for j in self.plan.derivative.carried_by(self.graph, n):
            found = self.product(self.factors(j, place), place.length)
            self.lines.append(f"{total} += {found}")
        self.moved.append(f"{register} = {total}")
