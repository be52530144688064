"""The tier for small M: a program takes some rows of the batch through all steps, with the weights held on chip.

Programs do not wait for one another, so that no barrier across the grid is needed. Shapes as in `tiles`.
"""

import triton
import triton.language as tl

from rnncli.kernels.triton.tiles import (
    frozen,
    load_blocks,
    load_state,
    load_values,
    multiply,
    place,
    repeated,
    replaced,
    store_blocks,
    store_value,
)


@triton.jit
def load_weights(dense, vectors, CELL: tl.constexpr, M: tl.constexpr, P: tl.constexpr, TRANSPOSED: tl.constexpr):
    """Load all weights in the order of the terms: (P, P) from input to output, or back if TRANSPOSED, and (P,)."""
    columns = tl.arange(0, P)
    lines = columns[:, None]
    inside = (lines < M) & (columns[None, :] < M)
    where = lines * M + columns[None, :] if TRANSPOSED else columns[None, :] * M + lines
    out = ()
    for j in tl.static_range(len(CELL.terms)):
        if CELL.terms[j].dense:
            out = out + (tl.load(dense + CELL.terms[j].tile * M * M + where, inside, other=0.0),)
        else:
            vector = tl.load(vectors + CELL.terms[j].tile * M + columns, columns < M, other=0.0)
            out = out + (vector.to(tl.float32),)
    return out


@triton.jit
def step(a, state, weights, F: tl.constexpr, CELL: tl.constexpr, PRECISION: tl.constexpr):
    """Compute all values of a step from the projections and the old state."""
    values = state
    for k in tl.static_range(len(CELL.stages)):
        for j in tl.static_range(len(CELL.terms)):
            if CELL.terms[j].stage == k:
                if CELL.terms[j].operand < 0:
                    seen = weights[j][None, :]
                else:
                    seen = multiply(values[CELL.terms[j].operand], weights[j], PRECISION)
                a = replaced(a, CELL.terms[j].block, a[CELL.terms[j].block] + seen)
        values = values + CELL.stages[k].forward(a, values, F)
    return values


@triton.jit
def step_backward(d, values, weights, F: tl.constexpr, CELL: tl.constexpr, PRECISION: tl.constexpr):
    """Compute the gradients of a step's pre-activations, and of the old state except what flows through matmuls."""
    da = repeated(tl.zeros_like(d[0]), len(CELL.blocks))
    for k in tl.static_range(len(CELL.stages) - 1, -1, -1):
        p = tl.zeros_like(d[0])
        for j in tl.static_range(len(CELL.terms)):
            if CELL.terms[j].operand >= len(CELL.new) and CELL.terms[j].stage > k:
                p += multiply(da[CELL.terms[j].block], weights[j], PRECISION)
        found, d = CELL.stages[k].backward(d, p, values, F)
        for n in tl.static_range(len(found)):
            da = replaced(da, CELL.reads[k][n], found[n])
    return da, d


@triton.jit(do_not_specialize=["T", "B"])
def forward(
    projected,
    tape,
    dense,
    vectors,
    lengths,
    T,
    B,
    F: tl.constexpr,
    CELL: tl.constexpr,
    M: tl.constexpr,
    P: tl.constexpr,
    ROWS: tl.constexpr,
    KEEP: tl.constexpr,
    PRECISION: tl.constexpr,
):
    B = B.to(tl.int64)  # and with it all addresses
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, P)
    inside = (rows < B)[:, None] & (columns < M)[None, :]
    ends = tl.load(lengths + rows, rows < B, other=0)[:, None]
    weights = load_weights(dense, vectors, CELL, M, P, False)
    state = load_state(tape, 0, rows, columns, inside, B, CELL, M)
    for t in tl.range(0, T, num_stages=2):  # prefetches the next step
        a = load_blocks(projected, t, rows, columns, inside, B, CELL.projected, M, CELL.projected)
        a = a + repeated(tl.zeros_like(a[0]), len(CELL.blocks) - CELL.projected)
        values = step(a, state, weights, F, CELL, PRECISION)
        for k in tl.static_range(len(CELL.new), len(CELL.values)):
            value = frozen(values[k], values, t < ends, k, CELL)
            values = replaced(values, k, value)
            if KEEP or CELL.is_new[k]:
                store_value(tape, value, t, k, rows, columns, inside, B, CELL, M, KEEP)
        state = ()
        for field in tl.static_range(len(CELL.new)):
            state = state + (values[CELL.new[field]],)


@triton.jit(do_not_specialize=["T", "B"])
def backward(
    d_outputs,
    d_state,
    d_blocks,
    tape,
    dense,
    vectors,
    lengths,
    T,
    B,
    F: tl.constexpr,
    CELL: tl.constexpr,
    M: tl.constexpr,
    P: tl.constexpr,
    ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Fill d_blocks; d_state, (B, M) per field, holds the last state's gradient, and afterwards the first state's."""
    B = B.to(tl.int64)  # and with it all addresses
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, P)
    inside = (rows < B)[:, None] & (columns < M)[None, :]
    ends = tl.load(lengths + rows, rows < B, other=0)[:, None]
    weights = load_weights(dense, vectors, CELL, M, P, True)
    here = place(0, rows, columns, B, M)
    carried = ()
    for field in tl.static_range(len(CELL.new)):
        carried = carried + (tl.load(d_state[field] + here, inside, other=0.0),)
    for behind in tl.range(0, T, num_stages=2):
        t = T - 1 - behind
        alive = t < ends
        values = load_values(tape, t, rows, columns, inside, B, CELL, M, len(CELL.values), True)
        d_output = tl.load(d_outputs + place(t, rows, columns, B, M), inside, other=0.0).to(tl.float32)
        d = replaced(carried, 0, carried[0] + d_output)
        found, passed = step_backward(d, values, weights, F, CELL, PRECISION)
        da = ()
        for k in tl.static_range(len(CELL.blocks)):
            da = da + (tl.where(alive, found[k], 0.0),)
        store_blocks(d_blocks, da, t, rows, columns, inside, B, len(CELL.blocks), M)
        carried = ()
        for field in tl.static_range(len(CELL.new)):
            total = tl.where(alive, passed[field], d[field])
            for j in tl.static_range(len(CELL.terms)):
                if CELL.terms[j].operand == field:
                    total += multiply(da[CELL.terms[j].block], weights[j], PRECISION)
            carried = carried + (total,)
    for field in tl.static_range(len(CELL.new)):
        tl.store(d_state[field] + here, carried[field], inside)
