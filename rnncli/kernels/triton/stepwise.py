"""The tier for larger M: a step's matmuls and pointwise work in one launch, or two.

There are two where one stage sees the other's result through a matrix. A program has a tile of the rows and columns of
all blocks. Shapes as in `tiles`.
"""

import triton
import triton.language as tl

from rnncli.kernels.triton.tiles import (
    frozen,
    load_blocks,
    load_values,
    place,
    repeated,
    replaced,
    slot,
    store_value,
)


@triton.jit
def add_matmuls(
    a,
    pointer,
    seen: tl.constexpr,
    dense,
    rows,
    columns,
    B,
    CELL: tl.constexpr,
    M: tl.constexpr,
    DEPTH: tl.constexpr,
    WHICH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Add to the pre-activations a, those that a launch reads, the matmuls with one value (B, M) in memory."""
    START: tl.constexpr = CELL.launches[WHICH].start
    STOP: tl.constexpr = CELL.launches[WHICH].stop
    for k in range(0, M, DEPTH):
        inner = k + tl.arange(0, DEPTH)
        x = tl.load(
            pointer + rows[:, None] * M + inner[None, :], (rows < B)[:, None] & (inner < M)[None, :], other=0.0
        ).to(dense.dtype.element_ty)
        inside = (inner < M)[:, None] & (columns < M)[None, :]
        for j in tl.static_range(len(CELL.terms)):
            if CELL.terms[j].dense and CELL.terms[j].operand == seen:
                if CELL.terms[j].stage >= START and CELL.terms[j].stage < STOP:
                    where = (CELL.terms[j].tile * M + columns[None, :]) * M + inner[:, None]
                    weight = tl.load(dense + where, inside, other=0.0)
                    total = tl.dot(x, weight, a[CELL.terms[j].block], input_precision=PRECISION)
                    a = replaced(a, CELL.terms[j].block, total)
    return a


@triton.jit
def add_matmuls_backward(
    total,
    d_blocks,
    seen: tl.constexpr,
    dense,
    rows,
    columns,
    B,
    CELL: tl.constexpr,
    M: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Add to the gradient of one value what the blocks (B, N*M) that see it through matrices contribute."""
    if CELL.multiplies[seen]:
        for k in range(0, M, DEPTH):
            inner = k + tl.arange(0, DEPTH)
            inside = (inner < M)[:, None] & (columns < M)[None, :]
            there = (rows < B)[:, None] & (inner < M)[None, :]
            for j in tl.static_range(len(CELL.terms)):
                if CELL.terms[j].dense and CELL.terms[j].operand == seen:
                    where = (rows[:, None] * len(CELL.blocks) + CELL.terms[j].block) * M + inner[None, :]
                    d = tl.load(d_blocks + where, there, other=0.0)
                    weight = tl.load(
                        dense + (CELL.terms[j].tile * M + inner[:, None]) * M + columns[None, :], inside, other=0.0
                    )
                    total = tl.dot(d, weight, total, input_precision=PRECISION)
    return total


@triton.jit
def add_vectors_backward(total, da, seen: tl.constexpr, weights, CELL: tl.constexpr):
    """Add to the gradient of one value what the blocks that see it through vectors contribute."""
    for j in tl.static_range(len(CELL.terms)):
        if CELL.terms[j].operand == seen and not CELL.terms[j].dense:
            total += da[CELL.terms[j].block] * weights[j][None, :]
    return total


@triton.jit
def load_vectors(vectors, columns, CELL: tl.constexpr, M: tl.constexpr):
    """Load the vectors into the positions of their terms; matrices get 0."""
    out = ()
    for j in tl.static_range(len(CELL.terms)):
        if CELL.terms[j].dense:
            out = out + (0,)
        else:
            vector = tl.load(vectors + CELL.terms[j].tile * M + columns, columns < M, other=0.0)
            out = out + (vector.to(tl.float32),)
    return out


@triton.jit(do_not_specialize=["t", "B"])
def forward(
    projected,
    tape,
    dense,
    vectors,
    lengths,
    t,
    B,
    F: tl.constexpr,
    CELL: tl.constexpr,
    M: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    KEEP: tl.constexpr,
    PRECISION: tl.constexpr,
    WHICH: tl.constexpr,
):
    """Compute the stages of launch WHICH of step t."""
    B = B.to(tl.int64)  # and with it all addresses
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (rows < B)[:, None] & (columns < M)[None, :]
    alive = t < tl.load(lengths + rows, rows < B, other=0)[:, None]
    weights = load_vectors(vectors, columns, CELL, M)
    a = load_blocks(projected, t, rows, columns, inside, B, CELL.projected, M, CELL.projected)
    a = a + repeated(tl.zeros_like(a[0]), len(CELL.blocks) - CELL.projected)
    for seen in tl.static_range(len(CELL.values)):
        if CELL.launches[WHICH].multiplies[seen]:
            if seen < len(CELL.new):
                pointer = tape[CELL.new[seen] - len(CELL.new)] + t * B * M
            else:
                pointer = tape[seen - len(CELL.new)] + slot(t, seen, CELL, KEEP) * B * M
            a = add_matmuls(a, pointer, seen, dense, rows, columns, B, CELL, M, DEPTH, WHICH, PRECISION)
    START: tl.constexpr = CELL.launches[WHICH].start
    STOP: tl.constexpr = CELL.launches[WHICH].stop
    values = load_values(tape, t, rows, columns, inside, B, CELL, M, CELL.spans[START][0], KEEP)
    for k in tl.static_range(START, STOP):
        for j in tl.static_range(len(CELL.terms)):
            if CELL.terms[j].stage == k and not CELL.terms[j].dense:
                seen_now = weights[j][None, :]
                if CELL.terms[j].operand >= 0:
                    seen_now = seen_now * values[CELL.terms[j].operand]
                a = replaced(a, CELL.terms[j].block, a[CELL.terms[j].block] + seen_now)
        values = values + CELL.stages[k].forward(a, values, F)
    for k in tl.static_range(len(CELL.values)):
        if k >= CELL.spans[START][0] and k < len(values):
            store_value(tape, frozen(values[k], values, alive, k, CELL), t, k, rows, columns, inside, B, CELL, M, KEEP)


@triton.jit(do_not_specialize=["t", "B"])
def backward(
    d_outputs,
    d_state,
    d_blocks,
    tape,
    dense,
    vectors,
    lengths,
    t,
    B,
    F: tl.constexpr,
    CELL: tl.constexpr,
    M: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    WHICH: tl.constexpr,
):
    """Compute the stages of launch WHICH of step t, backward.

    d_state, (B, M) per field, goes from launch to launch. The first launch of a step adds what reaches its state
    through matmuls of the next step.
    """
    B = B.to(tl.int64)  # and with it all addresses
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (rows < B)[:, None] & (columns < M)[None, :]
    alive = t < tl.load(lengths + rows, rows < B, other=0)[:, None]
    weights = load_vectors(vectors, columns, CELL, M)
    values = load_values(tape, t, rows, columns, inside, B, CELL, M, len(CELL.values), True)
    N: tl.constexpr = len(CELL.blocks)
    START: tl.constexpr = CELL.launches[WHICH].start
    STOP: tl.constexpr = CELL.launches[WHICH].stop
    here = place(0, rows, columns, B, M)
    total = ()
    for field in tl.static_range(len(CELL.new)):
        total = total + (tl.load(d_state[field] + here, inside, other=0.0),)
    if len(CELL.stages) == STOP:
        later = load_blocks(d_blocks, t + 1, rows, columns, inside, B, N, M, N)
        for field in tl.static_range(len(CELL.new)):
            sum = add_vectors_backward(total[field], later, field, weights, CELL)
            there = d_blocks + (t + 1) * B * (N * M)
            sum = add_matmuls_backward(sum, there, field, dense, rows, columns, B, CELL, M, DEPTH, PRECISION)
            total = replaced(total, field, sum)
        d_output = tl.load(d_outputs + place(t, rows, columns, B, M), inside, other=0.0).to(tl.float32)
        total = replaced(total, 0, total[0] + d_output)
    da = load_blocks(d_blocks, t, rows, columns, inside, B, N, M, N)  # results of earlier launches
    d = total
    for k in tl.static_range(STOP - 1, START - 1, -1):
        p = tl.zeros_like(d[0])
        for seen in tl.static_range(len(CELL.new), len(CELL.values)):
            if seen >= CELL.spans[k][0] and seen < CELL.spans[k][1]:
                p = add_vectors_backward(p, da, seen, weights, CELL)
                there = d_blocks + t * B * (N * M)
                p = add_matmuls_backward(p, there, seen, dense, rows, columns, B, CELL, M, DEPTH, PRECISION)
        found, d = CELL.stages[k].backward(d, p, values, F)
        for n in tl.static_range(len(found)):
            block = tl.where(alive, found[n], 0.0)
            da = replaced(da, CELL.reads[k][n], block)
            where = (t * B + rows[:, None]) * (N * M) + CELL.reads[k][n] * M + columns[None, :]
            tl.store(d_blocks + where, block.to(d_blocks.dtype.element_ty), inside)
    for field in tl.static_range(len(CELL.new)):
        tl.store(d_state[field] + here, tl.where(alive, d[field], total[field]), inside)
