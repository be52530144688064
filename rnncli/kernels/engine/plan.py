"""The plan of a step and its gradient: stages between matmuls, and where each value lies.

A stage ends where a matmul needs all of its operand. Arrays with a row for each step t and sequence b: `projected`, its
gradient `dp`, `kept`, the outputs' gradient `dout`, the operands `x<j>` of matmuls and the gradients `d<j>` of their
results, and the states `s<i>`, of which `n<i>` is the row after. Arrays with a row for each b: the results `y<j>` of
matmuls, `r<j>` and `q<j>` (see `derive`), copies `e<j>` of `d<j>` or of part of `dp` for a matmul, the gradients `c<i>`
of the state, copies `b<i>` of them, `scratch`, and `acc`, the sums over time of the gradients of vectors. `v` has all
vectors of parameters.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rnncli.kernels.engine.derive import Derivative, Packed, field_of, new_field_of
from rnncli.kernels.engine.graph import Graph, Place
from rnncli.kernels.engine.ops import OPS

CHEAP = 16
"""Additions. What costs at most this is computed again in the backward pass, and not kept; tanh costs 12."""


@dataclass
class Stage:
    """One compiled function: what it computes, in order, and what it stores."""

    pieces: list[int] = field(default_factory=list)
    stores: list[tuple[int, Place]] = field(default_factory=list)
    matmuls: list[int] = field(default_factory=list)  # to run before it


@dataclass
class Pass:
    """The stages of one direction; `where` tells what is read from memory, `depth` the loop of each piece in its stage.

    A loop of depth n needs reductions over the pieces of depth n - 1.
    """

    stages: list[Stage]
    where: dict[int, Place]
    stage_of: dict[int, int]
    depth: dict[int, int]
    last: list[int] = field(default_factory=list)  # matmuls to run after all stages
    scratch: int = 0

    def position(self, piece: int) -> tuple[int, int]:
        return self.stage_of.get(piece, 0), self.depth.get(piece, 0)


@dataclass
class Plan:
    """Everything about a step that does not depend on B and T."""

    graph: Graph
    derivative: Derivative
    forward: Pass
    backward: Pass
    operands: list[str]  # of each matmul: the array that holds its operand
    again: set[int]  # matmuls whose operand the backward pass computes again
    recipes: int  # prepared tensors of the step
    kept: int = 0  # features kept apart from `projected`
    in_place: bool = False  # whether `dp` takes the place of `projected`
    d_parts: list[list[Place]] = field(default_factory=list)
    """Where the gradient of each matmul's result lies: in `dp`, in its own `d<j>`, or parts of it in both."""
    copies: list[int] = field(default_factory=list)  # fields whose arriving gradient is copied first
    vectors: dict[str, int] = field(default_factory=dict)  # where each vector begins in `v` and `acc`
    sums: list[tuple[Place, Place]] = field(default_factory=list)  # parts of `acc`, and what their sums are of

    @property
    def streams(self) -> bool:
        """Whether no matmul divides a step, so that one function runs all steps."""
        return not self.graph.matmuls

    def members(self, j: int) -> list[int]:
        """A matmul that is run and those that it computes as well, in the order of their columns."""
        return [j, *(other for other, by in self.derivative.merged.items() if by == j)]

    def width(self, j: int) -> int:
        """The columns of a matmul that is run."""
        return sum(self.graph.matmuls[each].N for each in self.members(j))

    def weights(self, j: int) -> list[int]:
        """The prepared weights of a matmul that is run, next to each other."""
        return [k for each in self.members(j) for k in self.graph.matmuls[each].weights]

    def has_copy(self, j: int) -> bool:
        """Whether the gradient of a matmul's result is gathered in `e<j>` for its matmul."""
        first, *others = self.d_parts[j]
        is_part = first.array == "dp" and first.length < self.graph.sizes["projected"]
        return is_part or bool(others) or j in self.derivative.merged.values()

    def own_gradients(self, j: int) -> int:
        """The features of `d<j>`."""
        return sum(place.length for place in self.d_parts[j] if place.array != "dp")

    def run_matmuls(self) -> list[int]:
        """The matmuls that are run; the others are computed by those."""
        return [j for j in range(len(self.graph.matmuls)) if j not in self.derivative.merged]


class _Scheduler:
    """Distributes pieces over stages, so that few values cross from stage to stage."""

    def __init__(self, graph: Graph, given: Mapping[int, Place], operands: Mapping[str, Iterable[int]]) -> None:
        self.graph, self.given = graph, given
        self.operands = {array: list(pieces) for array, pieces in operands.items()}  # of `y<j>` or `r<j>`
        self.first: dict[int, int] = {}
        self.before: dict[str, int] = {}

    def is_read(self, piece: int) -> bool:
        """Whether a piece comes from memory, or is a constant."""
        return piece in self.given or self.graph.pieces[piece].op in ("load", "const", "size")

    def earliest(self, piece: int) -> int:
        """The first stage that can have a piece."""
        if piece not in self.first:
            op, operands, _, extra = self.graph.pieces[piece]
            if piece in self.given or op in ("const", "size"):
                found = 0
            elif op == "load":
                found = self.matmul(extra.array) if extra.array in self.operands else 0
            else:
                found = max(map(self.earliest, operands), default=0)
            self.first[piece] = found
        return self.first[piece]

    def matmul(self, array: str) -> int:
        """The stage before which a matmul runs."""
        if array not in self.before:
            self.before[array] = 1 + max(map(self.earliest, self.operands[array]), default=-1)
        return self.before[array]

    def run(self, stores: Sequence[tuple[int, Place]], pinned: set[int]) -> Pass:
        """Schedule everything that the stores and the matmuls need."""
        deadlines: dict[int, int] = {}
        for array, pieces in self.operands.items():
            for each in pieces:
                deadlines[each] = min(self.matmul(array) - 1, deadlines.get(each, len(self.graph.pieces)))
        live = self.live([piece for piece, _ in stores])
        count = 1 + max([*map(self.earliest, live), *self.before.values(), 0])
        free = self.free(live - pinned, {piece for piece, place in stores if place.array[0] in "nx"})
        latest = dict.fromkeys(live, count - 1)
        used = {each for user in live for each in self.graph.pieces[user].operands}
        for piece in sorted(live, reverse=True):
            bound = min(latest[piece], deadlines.get(piece, count - 1))
            latest[piece] = bound = bound if piece in free & used else self.earliest(piece)
            for each in self.graph.pieces[piece].operands:
                if each in latest:
                    latest[each] = min(latest[each], bound)
        stages = [Stage() for _ in range(count)]
        for piece in sorted(live):
            stages[latest[piece]].pieces.append(piece)
        for array, stage in self.before.items():
            stages[stage].matmuls.append(int(array[1:]))
        found = Pass(stages, dict(self.given), latest, self._depths(live, latest))
        for piece, place in stores:
            stages[latest.get(piece, self.earliest(piece))].stores.append((piece, place))
        return found

    def live(self, wanted: Iterable[int]) -> set[int]:
        """What must be computed for these pieces."""
        found: set[int] = set()
        waiting = [*wanted, *(each for pieces in self.operands.values() for each in pieces)]
        while waiting:
            piece = waiting.pop()
            if piece not in found and not self.is_read(piece):
                found.add(piece)
                waiting += self.graph.pieces[piece].operands
        return found

    def free(self, live: set[int], homes: set[int]) -> set[int]:
        """The pieces that need nothing but what lies in memory anyway: they may be computed late."""
        found: set[int] = set()
        for piece in sorted(live):
            if all(self.is_read(each) or each in homes or each in found for each in self.graph.pieces[piece].operands):
                found.add(piece)
        return found

    def _depths(self, live: set[int], stage_of: Mapping[int, int]) -> dict[int, int]:
        depth: dict[int, int] = {}
        for piece in sorted(live):
            op, operands, _, _ = self.graph.pieces[piece]
            here = [depth[each] for each in operands if each in depth and stage_of[each] == stage_of[piece]]
            depth[piece] = max(here, default=0) + (op in ("sum", "max"))
        return depth


def merged_matmuls(graph: Graph) -> dict[int, int]:
    """Matmuls of an old field that the matmul of the same new field can compute one step ahead, by that one."""
    operands = {
        f"y{j}": [] if field_of(graph, j) is not None else [piece for piece, _ in m.operand]
        for j, m in enumerate(graph.matmuls)
    }
    scheduler = _Scheduler(graph, {}, operands)
    found: dict[int, int] = {}
    for j in range(len(graph.matmuls)):
        if (number := field_of(graph, j)) is None:
            continue
        users = [n for n, piece in enumerate(graph.pieces) if set(graph.inputs.get(f"y{j}", ())) & set(piece.operands)]
        packed = [piece for packed in (*graph.fields, *(m.operand for m in graph.matmuls)) for piece, _ in packed]
        for other in range(len(graph.matmuls)):
            if new_field_of(graph, other) != number or other in found.values():
                continue
            is_early = all(scheduler.earliest(each) < scheduler.matmul(f"y{other}") for each in users)
            if is_early and not set(graph.inputs.get(f"y{j}", ())).intersection(packed):
                found[j] = other
                break
    return found


def make_plan(graph: Graph, derivative: Derivative, recipes: int, *, owned: bool, cheap: float = CHEAP) -> Plan:
    """Plan both directions.

    `owned` says whether the array `projected` may be overwritten, `cheap` what may be computed again.
    """
    return _Planner(graph, derivative, owned, cheap).run(recipes)


class _Planner:
    def __init__(self, graph: Graph, derivative: Derivative, owned: bool, cheap: float) -> None:
        self.graph, self.derivative, self.owned, self.cheap = graph, derivative, owned, cheap
        self.available: dict[int, Place] = {}  # what the backward pass reads from memory
        self.operands = [self.operand(j) for j in range(len(graph.matmuls))]

    def run(self, recipes: int) -> Plan:
        graph, derivative = self.graph, self.derivative
        forward = self.schedule_forward()
        kept, again = self.choose_kept()
        size = self.place_kept(forward, kept)
        backward, d_parts, sums, copies = self.schedule_backward(again)
        for each in (forward, backward):
            each.scratch = _cross(graph, each)
        plan = Plan(graph, derivative, forward, backward, self.operands, again, recipes, size)
        plan.d_parts, plan.copies = d_parts, copies
        plan.sums, plan.vectors = sums, self.vectors()
        plan.in_place = self.owned and self.fits_in_place(backward)
        if plan.in_place:
            for stage in backward.stages:
                stage.stores = [(piece, _renamed(place, "dp", "projected")) for piece, place in stage.stores]
        return plan

    def vectors(self) -> dict[str, int]:
        found, begin = {}, 0
        for array, size in self.graph.sizes.items():
            if array[0] == "v":
                found[array] = begin
                begin += size
        return found

    def operand(self, j: int) -> str:
        """The array of a matmul's operand: a field of the old state or of the new one, or its own."""
        if (number := field_of(self.graph, j)) is not None:
            return f"s{number}"
        number = new_field_of(self.graph, j)
        return f"x{j}" if number is None else f"n{number}"

    def schedule_forward(self) -> Pass:
        stores = [pair for number, packed in enumerate(self.graph.fields) for pair in _at(packed, f"n{number}")]
        for j, array in enumerate(self.operands):
            if array[0] == "x":
                stores += _at(self.graph.matmuls[j].operand, array)
        operands = {
            f"y{j}": [] if self.operands[j][0] == "s" else [piece for piece, _ in m.operand]
            for j, m in enumerate(self.graph.matmuls)
        }
        for piece, place in stores:
            if place.array[0] == "n" and place.length == self.graph.pieces[piece].length:
                self.available.setdefault(piece, place)
        early = {load for j in self.derivative.merged for load in self.graph.inputs.get(f"y{j}", ())}
        pinned = {n for n, piece in enumerate(self.graph.pieces) if early.intersection(piece.operands)}
        found = _Scheduler(self.graph, {}, operands).run(stores, pinned)
        for stage in found.stages:
            stage.matmuls = [j for j in stage.matmuls if j not in self.derivative.merged]
        return found

    def choose_kept(self) -> tuple[list[int], set[int]]:
        """The pieces to keep, and the matmuls whose operand the backward pass computes again."""
        graph = self.graph
        kept: list[int] = []
        for piece in sorted(self.needed()):
            if self.cost(piece) > self.cheap:
                kept.append(piece)
                self.available[piece] = Place("kept", 0, graph.pieces[piece].length)
        again: set[int] = set()
        for j, array in enumerate(self.operands):
            if array[0] != "x":
                continue
            if sum(self.cost(piece) for piece, _ in graph.matmuls[j].operand) <= self.cheap:
                again.add(j)
            else:
                self.available.update(_at(graph.matmuls[j].operand, array))
        return [piece for piece in kept if self.available[piece].array == "kept"], again

    def needed(self) -> set[int]:
        """The pieces of the step that its gradient uses."""
        graph, begin = self.graph, self.derivative.begin
        wanted = [
            piece for packed in (*self.derivative.inputs.values(), *self.derivative.results) for piece, _ in packed
        ]
        found, seen = set(), set()
        while wanted:
            piece = wanted.pop()
            if piece in seen:
                continue
            seen.add(piece)
            if piece < begin:
                found.add(piece)
            else:
                wanted += graph.pieces[piece].operands
        return found

    def cost(self, piece: int) -> float:
        """What it costs to have a piece of the step in the backward pass, in additions."""
        op, operands, _, extra = self.graph.pieces[piece]
        if piece in self.available or op in ("const", "size"):
            return 0
        if op == "load":
            return float("inf") if extra.array[0] == "y" else 0
        if op not in OPS:
            return float("inf")
        return OPS[op].cost + sum(map(self.cost, operands))

    def place_kept(self, forward: Pass, kept: Sequence[int]) -> int:
        """Give each kept piece a place: one in `projected` that nobody reads any more, or one of its own."""
        graph = self.graph
        free = [load for load in graph.inputs.get("projected", ()) if self.owned and load not in self.read_again()]
        size = 0
        for piece in kept:
            length = graph.pieces[piece].length
            fits = [load for load in free if graph.pieces[load].length == length and self.is_over(forward, load, piece)]
            if fits:
                free.remove(fits[0])
                place = graph.pieces[fits[0]].extra
            else:
                place, size = Place("kept", size, length), size + length
            self.available[piece] = place
            forward.stages[forward.stage_of.get(piece, -1)].stores.append((piece, place))
        return size

    def read_again(self) -> set[int]:
        """The parts of `projected` that the backward pass reads."""
        seen: set[int] = set()
        waiting = [each for each in self.needed() if each not in self.available]
        waiting += [piece for m in self.graph.matmuls for piece, _ in m.operand if piece not in self.available]
        while waiting:
            piece = waiting.pop()
            if piece not in seen:
                seen.add(piece)
                waiting += [each for each in self.graph.pieces[piece].operands if each not in self.available]
        return seen

    def is_over(self, forward: Pass, load: int, piece: int) -> bool:
        """Whether the last use of a load is in the loop that computes a piece, or in an earlier one."""
        graph = self.graph
        stored = [*graph.fields, *(m.operand for m in graph.matmuls)]
        if graph.pieces[piece].op == "load" or any(load == each for packed in stored for each, _ in packed):
            return False
        users = [each for each in forward.stage_of if load in graph.pieces[each].operands]
        here = forward.position(piece)
        return all(
            forward.position(each) < here
            or (forward.position(each) == here and graph.pieces[each].length == graph.pieces[piece].length)
            for each in users
        )

    def schedule_backward(
        self, again: set[int]
    ) -> tuple[Pass, list[list[Place]], list[tuple[Place, Place]], list[int]]:
        graph, derivative = self.graph, self.derivative
        dp = _at(derivative.inputs.get("projected", ()), "dp")
        stores, d_parts = list(dp), []
        for j, results in enumerate(derivative.results):
            parts, own = _gradient_parts(f"d{j}", results, dp)
            d_parts.append(parts)
            stores += own
            is_copied = len(parts) > 1 or (parts[0].array == "dp" and parts[0].length < graph.sizes["projected"])
            if j in derivative.merged.values() or (is_copied and j not in derivative.merged):
                stores += _at(results, f"e{j}")
        for j, other in derivative.merged.items():
            shift = graph.matmuls[other].N
            pairs = _at(derivative.results[j], f"e{other}")
            stores += [(piece, place._replace(start=place.start + shift)) for piece, place in pairs]
        copies = []
        for array, packed in derivative.inputs.items():
            if array[0] == "s":
                stores += _at(packed, f"c{array[1:]}")
                loads = {graph.pieces[each].extra[1:] for each in graph.inputs.get(f"c{array[1:]}", ())}
                if loads != {place[1:] for _, place in packed}:
                    copies.append(int(array[1:]))
        sums = self.vector_stores(stores)
        for j in again:
            stores += _at(graph.matmuls[j].operand, f"x{j}")
        operands = {
            f"r{j}": [piece for piece, _ in results]
            for j, results in enumerate(derivative.results)
            if j not in derivative.carried
        }
        arriving = {each for name in "cq" for array in graph.inputs if array[0] == name for each in graph.inputs[array]}
        arriving |= set(graph.inputs.get("dout", ()))
        pinned = {n for n, piece in enumerate(graph.pieces) if arriving.intersection(piece.operands)}
        found = _Scheduler(graph, self.available, operands).run(stores, pinned)
        found.last = sorted(derivative.carried - derivative.merged.keys())
        return found, d_parts, sums, copies

    def vector_stores(self, stores: list[tuple[int, Place]]) -> list[tuple[Place, Place]]:
        """Sum the vectors' gradients in `acc`, except those that another array has anyway: pairs of their places.

        A function that runs all steps sums everything on its way, since reading an array again would cost more.
        """
        begins, sums = self.vectors(), []
        written = {
            (piece, place.length): place
            for piece, place in stores
            if place.array == "dp" or (place.array[0] == "d" and place.array[1:].isdigit())
            if self.graph.matmuls
        }
        for array, packed in self.derivative.inputs.items():
            if array[0] != "v":
                continue
            for piece, place in packed:
                target = place._replace(array="acc", start=place.start + begins[array])
                if (piece, place.length) in written:
                    sums.append((target, written[piece, place.length]))
                else:
                    stores.append((piece, target))
        return sums

    def fits_in_place(self, backward: Pass) -> bool:
        """Whether each part of `dp` is written after the last use of what lies there."""
        graph = self.graph
        written = {
            place[1:]: backward.position(piece)
            for stage in backward.stages
            for piece, place in stage.stores
            if place.array == "dp"
        }
        held = {piece: place for piece, place in self.available.items() if place.array == "projected"}
        held.update({load: graph.pieces[load].extra for load in graph.inputs.get("projected", ())})
        for each, place in held.items():
            users = [user for user in backward.stage_of if each in graph.pieces[user].operands]
            users += [piece for stage in backward.stages for piece, _ in stage.stores if piece == each]
            if any(
                backward.position(user) > written[place[1:]] or graph.pieces[user].length != place.length
                for user in users
            ):
                return False
        return True


def _at(packed: Packed, array: str) -> list[tuple[int, Place]]:
    return [(piece, place._replace(array=array)) for piece, place in packed]


def _renamed(place: Place, old: str, new: str) -> Place:
    return place._replace(array=new) if place.array == old else place


def _gradient_parts(
    array: str, results: Packed, dp: Sequence[tuple[int, Place]]
) -> tuple[list[Place], list[tuple[int, Place]]]:
    """Where the gradient of a matmul's result lies, and what of it must be stored in its own array."""
    N = sum(place.length for _, place in results)
    if (begin := _inside(results, dp)) is not None:
        return [Place("dp", begin, N)], []
    known = {(piece, place.length): place.start for piece, place in dp if place.stride == 1}
    parts: list[Place] = []
    own: list[tuple[int, Place]] = []
    for piece, (_, _, length, _) in results:
        start = known.get((piece, length))
        part = Place("dp", start, length) if start is not None else Place(array, sum(p.length for _, p in own), length)
        if start is None:
            own.append((piece, part))
        if parts and parts[-1].array == part.array and parts[-1].start + parts[-1].length == part.start:
            parts[-1] = parts[-1]._replace(length=parts[-1].length + length)
        else:
            parts.append(part)
    if len(parts) > 3 or any(place.stride != 1 for _, place in results):
        return [Place(array, 0, N)], _at(results, array)
    return parts, own


def _inside(results: Packed, dp: Sequence[tuple[int, Place]]) -> int | None:
    """Where in `dp` the same pieces lie in the same order, if they do."""
    for first in range(len(dp) - len(results) + 1):
        begin = dp[first][1].start
        moved = [(piece, place[2:], place.start - begin) for piece, place in dp[first : first + len(results)]]
        if moved == [(piece, place[2:], place.start) for piece, place in results]:
            return begin
    return None


def _cross(graph: Graph, found: Pass) -> int:
    """Store what a later stage reads, in `scratch` if it lies nowhere else; return the size of that."""
    size = 0
    stored = {
        piece: place
        for stage in found.stages
        for piece, place in stage.stores
        if place.array[0] in "nkx" or place.array in ("projected", "kept")
    }
    for piece, stage in found.stage_of.items():
        users = [
            each for each, other in found.stage_of.items() if other > stage and piece in graph.pieces[each].operands
        ]
        late = any(each == piece for other in found.stages[stage + 1 :] for each, _ in other.stores)
        if not users and not late:
            continue
        length = graph.pieces[piece].length
        place = stored.get(piece)
        if place is None or place.length != length:
            place, size = Place("scratch", size, length), size + length
            found.stages[stage].stores.append((piece, place))
        found.where[piece] = place
    return size
