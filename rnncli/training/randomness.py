"""Every random generator of a process: seeding, and the state as tensors."""

import math
import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rnncli.models.outline import check_alike

NEEDED = ("torch", "python", "numpy", "numpy_rest")
"""States of a fixed shape; the others may be absent."""

MT19937_WORDS = 624
"""Words in the state of numpy's generator."""


def seed_everything(seed: int) -> None:
    """Seed torch (all devices), numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def cuda_devices() -> range:
    """Return the CUDA devices in use; none before CUDA is initialised, so that training on a CPU does not touch it."""
    return range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)


def random_state() -> dict[str, Tensor]:
    """Return the state of every generator, as tensors by name."""
    version, words, gauss = random.getstate()
    assert version == 3
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    assert kind == "MT19937"
    state = {
        "torch": torch.get_rng_state(),
        "python": torch.tensor(words, dtype=torch.int64),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_rest": torch.tensor([position, has_gauss, cached], dtype=torch.float64),
    }
    for device in cuda_devices():
        state[f"cuda{device}"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    """Restore every generator; CUDA devices that this machine lacks are skipped.

    Raises ValueError, RuntimeError or ArithmeticError for an impossible state, KeyError where one is missing.
    """
    for name, own in random_state().items():
        if name in NEEDED:
            check_alike(f"random.{name}", state[name], own)
    if state["python_gauss"].dim() != 1 or not state["python_gauss"].is_floating_point():
        raise ValueError("random.python_gauss is no list of numbers")
    position, has_gauss, cached = state["numpy_rest"].tolist()
    if not (0 <= position <= MT19937_WORDS and has_gauss in (0, 1) and math.isfinite(cached)):
        raise ValueError("random.numpy_rest is no position of a generator")  # numpy would read beyond its state
    torch.set_rng_state(state["torch"])
    gauss = state["python_gauss"].tolist()
    random.setstate((3, tuple(state["python"].tolist()), gauss[0] if gauss else None))
    keys = state["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(position), int(has_gauss), cached))
    for device in cuda_devices():
        if f"cuda{device}" in state:
            torch.cuda.set_rng_state(state[f"cuda{device}"], device)
