"""Operations on tiles that both tiers use: addresses, loads, and the stages of a step, forward and backward.

Shapes: T steps, B batch, M hidden, G projected blocks, N blocks. Pre-activations are stored as (T, B, G*M), their
gradients as (T + 1, B, N*M) with zeros at T. The tape is one tensor (T + 1, B, M) per value of a step: slot t + 1 holds
the result of step t, slot 0 of the new state's fields the first state. Without KEEP (no backward pass follows) the
other values have one slot.
"""

import triton
import triton.language as tl


@triton.jit
def replaced(items, k: tl.constexpr, value):
    """Return a tuple with another value at k."""
    out = ()
    for j in tl.static_range(len(items)):
        if j == k:
            out = out + (value,)
        else:
            out = out + (items[j],)
    return out


@triton.jit
def repeated(value, N: tl.constexpr):
    """Return a tuple of N times the same value."""
    out = ()
    for _ in tl.static_range(N):
        out = out + (value,)
    return out


@triton.jit
def load_blocks(pointer, step, rows, columns, inside, B, WIDTH: tl.constexpr, M: tl.constexpr, COUNT: tl.constexpr):
    """Load the first COUNT blocks of a step of a tensor (T, B, WIDTH*M), in float32."""
    start = (step * B + rows[:, None]) * (WIDTH * M) + columns[None, :]
    out = ()
    for k in tl.static_range(COUNT):
        out = out + (tl.load(pointer + start + k * M, inside, other=0.0).to(tl.float32),)
    return out


@triton.jit
def store_blocks(pointer, blocks, step, rows, columns, inside, B, WIDTH: tl.constexpr, M: tl.constexpr):
    """Store the blocks of a step into a tensor (T, B, WIDTH*M); None marks a block that is not stored."""
    start = (step * B + rows[:, None]) * (WIDTH * M) + columns[None, :]
    for k in tl.static_range(len(blocks)):
        if blocks[k] is not None:
            tl.store(pointer + start + k * M, blocks[k].to(pointer.dtype.element_ty), inside)


@triton.jit
def place(step, rows, columns, B, M: tl.constexpr):
    """Return the addresses of a step's tile in a tensor (T, B, M)."""
    return (step * B + rows[:, None]) * M + columns[None, :]


@triton.jit
def slot(t, k: tl.constexpr, CELL: tl.constexpr, KEEP: tl.constexpr):
    """Return the slot of the tape that holds step t's value k."""
    if KEEP or CELL.is_new[k]:
        return t + 1
    else:
        return 0


@triton.jit
def load_state(tape, t, rows, columns, inside, B, CELL: tl.constexpr, M: tl.constexpr):
    """Load the state before step t, in float32."""
    out = ()
    for k in tl.static_range(len(CELL.new)):
        pointer = tape[CELL.new[k] - len(CELL.new)]
        out = out + (tl.load(pointer + place(t, rows, columns, B, M), inside, other=0.0).to(tl.float32),)
    return out


@triton.jit
def load_values(
    tape, t, rows, columns, inside, B, CELL: tl.constexpr, M: tl.constexpr, STOP: tl.constexpr, KEEP: tl.constexpr
):
    """Load the values of step t up to STOP: the state before it and the results of its stages."""
    values = load_state(tape, t, rows, columns, inside, B, CELL, M)
    for k in tl.static_range(len(CELL.new), STOP):
        where = place(slot(t, k, CELL, KEEP), rows, columns, B, M)
        values = values + (tl.load(tape[k - len(CELL.new)] + where, inside, other=0.0).to(tl.float32),)
    return values


@triton.jit
def store_value(
    tape, value, t, k: tl.constexpr, rows, columns, inside, B, CELL: tl.constexpr, M: tl.constexpr, KEEP: tl.constexpr
):
    """Store value k of step t."""
    pointer = tape[k - len(CELL.new)]
    where = place(slot(t, k, CELL, KEEP), rows, columns, B, M)
    tl.store(pointer + where, value.to(pointer.dtype.element_ty), inside)


@triton.jit
def multiply(x, weight, PRECISION: tl.constexpr):
    """Multiply x by a matrix on chip, or by a vector element by element."""
    if len(weight.shape) == 2:
        return tl.dot(x.to(weight.dtype), weight, input_precision=PRECISION)
    else:
        return x * weight[None, :]


@triton.jit
def frozen(value, values, alive, k: tl.constexpr, CELL: tl.constexpr):
    """Return value k, or the old state where k is a field of the new state of a sequence that has ended."""
    for field in tl.static_range(len(CELL.new)):
        if CELL.new[field] == k:
            value = tl.where(alive, value, values[field])
    return value
