"""A small kernel that tests whether triton works on this machine at all."""

import torch
import triton
import triton.language as tl

COUNT = 16


@triton.jit
def doubled(pointer, COUNT: tl.constexpr):
    """Double COUNT values in place."""
    where = pointer + tl.arange(0, COUNT)
    tl.store(where, 2.0 * tl.load(where))


def comes_out_right(device: str = "cuda") -> bool:
    """Tell whether the kernel doubles values on a device; raises what triton raises."""
    values = torch.arange(COUNT, dtype=torch.float32, device=device)
    doubled[(1,)](values, COUNT=COUNT)
    return bool((values == 2 * torch.arange(COUNT, device=device)).all())
