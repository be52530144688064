"""Optimizers by name, and their state as named tensors and plain values."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rnncli.cells.base import Cell
from rnncli.training.muon import Muon, NorMuon
from rnncli.training.settings import TrainingSettings


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Build the optimizer that the settings name, over the parameters that are learned; only matrices decay.

    Muon and NorMuon turn the matrices of the cells.
    """
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    turned: set[int] = set()
    if settings.optimizer in ("muon", "normuon"):
        cells = [module for module in model.modules() if isinstance(module, Cell)]
        turned = {id(each) for cell in cells for each in cell.parameters() if each.dim() > 1}
    first, matrices, others = (
        [each for each in learned if (id(each) in turned, each.dim() > 1) == kind]
        for kind in ((True, True), (False, True), (False, False))
    )
    groups: list[dict[str, Any]] = [
        {"params": first, "weight_decay": settings.weight_decay, "orthogonal": True},
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, settings.lr, momentum=settings.momentum)
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, settings.lr, momentum=settings.momentum)
    kind: Any = _KINDS[settings.optimizer]
    betas = (settings.momentum, settings.beta2)
    made: torch.optim.Optimizer = kind(groups, settings.lr, betas=betas, fused=learned[0].device.type != "mps")
    return made


_KINDS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "muon": Muon, "normuon": NorMuon}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's running averages, as `<parameter>.<name>` -> tensor."""
    state = optimizer.state_dict()["state"]
    return {
        f"{place}.{name}": value
        for place, values in state.items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; the groups' settings stay those it was built with."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        place, _, name = key.partition(".")
        state.setdefault(int(place), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
