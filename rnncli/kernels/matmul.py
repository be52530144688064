"""Float32 matmuls on the CPU by torch's fastest library, no less accurate than by torch's default."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor

from rnncli.kernels import precision as precisions

_SETTINGS: Any = getattr(torch.backends.mkldnn, "matmul", None)
"""Where torch keeps the switch `fp32_precision`; a build without it stays as it is."""

ROUND_FROM = 1_000_000
"""Multiplications of a matmul. Below this, rounding the operands to bfloat16 costs more than it gains."""

MIN_REPEATS, MIN_REPEATS_CONTIGUOUS = 4, 64
"""Below this many matmuls a weight (K, N) keeps its layout: where it is a transposed (N, K), and elsewhere."""

BLOCK = 1_000_000
"""Values of a rounded matmul held at once: 2 MB of bfloat16 stay in a cache until they become float32."""


@contextmanager
def fast_matmul(precision: str | None = None) -> Iterator[None]:
    """Run float32 matmuls on the CPU by oneDNN while inside, where that is as accurate; may be nested.

    Torch's default, MKL, is 2 to 3 times slower on AMD's processors. The switch to oneDNN also allows rounding to
    bfloat16, which oneDNN does on processors with AMX. If a test matmul comes out rounded, the switch stays off in
    every precision. In `bfloat16` the kernels that ask `may_round` round their factors themselves, in the same matmuls
    on all processors. None keeps the precision of the surrounding context; `kernels.precision.using` describes CUDA.
    """
    exact = None if precision is None else "ieee"
    with precisions.using(precision), switched("bf16" if _onednn_is_exact() else exact):
        yield


@contextmanager
def small_matmul() -> Iterator[None]:
    """Run matmuls on one thread in torch's default library while inside; nothing is rounded.

    oneDNN needs 15 us to start a matmul: with one to three rows, or in nets of a few thousand weights, MKL is up to 8
    times faster, and a second thread gains nothing.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with precisions.using("float32"), switched("ieee"):
            yield
    finally:
        torch.set_num_threads(threads)


def may_round(x: Tensor) -> bool:
    """Tell whether the factors of a matmul with x may be rounded to bfloat16 on a CPU.

    The precision in use must be bfloat16, the processor must have instructions for it, and gradients must be recorded:
    validation and use stay exact.
    """
    wanted = precisions.in_use() == "bfloat16" and torch.is_grad_enabled()
    return wanted and x.device.type == "cpu" and x.dtype == torch.float32 and precisions.has_bfloat16()


def matmul(a: Tensor, b: Tensor, out: Tensor | None = None, *, rounded: bool = False) -> Tensor:
    """Multiply a (I, K) by b (K, J) in the fastest library; a large matmul that may be `rounded` runs in bfloat16.

    Its operands and result are then rounded, the sums are not; the result has a's type.
    """
    if not (rounded and len(a) * b.numel() >= ROUND_FROM):
        with fast_matmul():
            return torch.mm(a, b, out=out)
    a, b = a.bfloat16(), b.bfloat16()
    if out is None:
        return torch.mm(a, b).float()
    rows = max(1, BLOCK // b.shape[1])
    for some, of in zip(out.split(rows), a.split(rows), strict=True):
        some.copy_(torch.mm(of, b))
    return out


Matmul = Callable[[Tensor], Tensor]
"""Multiplies x (B, K) by a fixed weight (K, N)."""


def repeated_matmul(weight: Tensor, B: int, times: int) -> Matmul:
    """Return a function that multiplies x (B, K) by a weight (K, N), `times` times; pack the weight where that pays."""
    if times < (MIN_REPEATS if weight.t().is_contiguous() else MIN_REPEATS_CONTIGUOUS):
        return lambda x: torch.mm(x, weight)
    if _packs(weight.dtype) and (weight.dtype == torch.bfloat16 or _onednn_is_exact()):
        ready = _PACK(weight.t(), B)
        return lambda x: _PACKED(x, ready, None, "none", [], "")
    ready = weight.contiguous()
    return lambda x: torch.mm(x, ready)


_PACK: Any = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
_PACKED: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


@cache
def _packs(dtype: torch.dtype) -> bool:
    """Test whether this torch multiplies by packed weights, with a correct result."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    a, b = _probe()
    try:
        found = _PACKED(a.to(dtype), _PACK(b.to(dtype).t(), len(a)), None, "none", [], "")
    except Exception:  # private operations may be missing, changed, or refuse a processor
        return False
    return _is_close(found, a, b, 1e-6 if dtype == torch.float32 else 1e-2)


def switched(value: str | None) -> AbstractContextManager[None]:
    """Set torch's switch for float32 matmuls on the CPU while inside; None, or a build without it, changes nothing."""
    return nullcontext() if value is None else precisions.setting((_SETTINGS, "fp32_precision", value))


@cache
def prefers_onednn() -> bool:
    """Tell whether oneDNN may be faster than torch's default library: not on x86 without AVX-512.

    Without it torch's switch has no effect, and calls of packed weights take 25 to 50 us more than they gain.
    """
    found = precisions.capabilities()
    return not found.get("avx2") or bool(found.get("avx512_f"))


@cache
def _onednn_is_exact() -> bool:
    """Test whether a matmul under the switch has the error of float32, not that of bfloat16 (4e-3)."""
    if not hasattr(_SETTINGS, "fp32_precision") or not torch.backends.mkldnn.is_available():
        return False
    a, b = _probe()
    with switched("bf16"):
        found = a @ b
    return _is_close(found, a, b, 1e-6)


def _probe() -> tuple[Tensor, Tensor]:
    """Return two matrices whose product tests a library."""
    return (torch.arange(128 * 256) % 251).view(128, 256) / 251, (torch.arange(256 * 128) % 241).view(256, 128) / 241


def _is_close(found: Tensor, a: Tensor, b: Tensor, error: float) -> bool:
    wanted = a.double() @ b.double()
    return bool((found - wanted).norm() < error * wanted.norm())
