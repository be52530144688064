"""Emitted text of a plan for triton: kernels over all steps, and kernels for each step."""

from typing import NamedTuple

from rnncli.kernels.engine.plan import Plan
from rnncli.kernels.triton.stepwise import step_kernels
from rnncli.kernels.triton.tile import Kernel
from rnncli.kernels.triton.whole import keeps_order, whole_kernel

HEADER = '''"""Kernels that rnn wrote for one step of a cell and its gradient."""

import triton
import triton.language as tl

from rnncli.kernels.triton.arithmetic import *
'''


class Emitted(NamedTuple):
    """The text, and its kernels in the order of their launches, by direction (forward, backward)."""

    text: str
    whole: tuple[list[Kernel], list[Kernel]] | None  # None where a step moves the features of its state
    steps: tuple[list[Kernel], list[Kernel]]


def emit(plan: Plan) -> Emitted:
    """Write the source of a plan."""
    texts, whole, steps = [HEADER], [], []
    for is_backward in (False, True):
        if keeps_order(plan.graph):
            kernel, text = whole_kernel(plan, is_backward)
            whole.append([kernel])
            texts.append(text)
        kernels, more = step_kernels(plan, is_backward)
        steps.append(kernels)
        texts += more
    both = (whole[0], whole[1]) if whole else None
    return Emitted("\n\n\n".join(texts) + "\n", both, (steps[0], steps[1]))
