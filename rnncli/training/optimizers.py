"""Optimizers by name: how each is built, the settings it uses, and their state as named tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rnncli.errors import RnnError
from rnncli.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


class Rates(Protocol):
    """The settings that the table's optimizers use."""

    @property
    def optimizer(self) -> str: ...
    @property
    def lr(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def beta1(self) -> float: ...
    @property
    def beta2(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


Groups = list[dict[str, Any]]
"""Parameters as torch's optimizers take them: each group with its own weight decay."""


@dataclass(frozen=True)
class OptimizerKind:
    """An optimizer: how it is built over groups of parameters, and the settings it uses, with its own defaults."""

    build: Callable[[Groups, Rates], "Optimizer"]
    settings: Mapping[str, float]
    recordable: bool = False  # whether a step depends on tensors only, and reads none on the host: graphs can replay it
    orthogonal: bool = False  # whether it steps the matrices of cells and blocks along orthogonalised momentum


def make_optimizer(model: "nn.Module", settings: Rates, *, recorded: bool = False) -> "Optimizer":
    """Build the optimizer that the settings name over the trainable parameters; weight decay only affects matrices.

    If it will be `recorded` as a graph, it reads no tensor on the host: not the learning rate, nor a count of steps.
    """
    from rnncli.cells.base import Cell
    from rnncli.models.block import ResidualBlock

    kind = OPTIMIZERS[settings.optimizer]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    layers = [each for each in model.modules() if isinstance(each, Cell | ResidualBlock)] if kind.orthogonal else []
    hidden = {id(each) for layer in layers for each in layer.parameters() if each.dim() == 2}
    orthogonal, matrices, vectors = (
        [each for each in trainable if (id(each) in hidden, each.dim() > 1) == place]
        for place in ((True, True), (False, True), (False, False))
    )
    decay = settings.weight_decay if "weight_decay" in kind.settings else 0.0
    groups: Groups = [
        {"params": orthogonal, "weight_decay": decay, "orthogonal": True},
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = kind.build([group for group in groups if group["params"]], settings)
    for group in optimizer.param_groups if recorded and kind.recordable else ():
        group["fused" if "fused" in group else "foreach"] = True  # the others read the learning rate on the host
        if "capturable" in group:
            group["capturable"] = True
    return optimizer


def _sgd(groups: Groups, settings: Rates) -> "Optimizer":
    from torch.optim import SGD

    return SGD(groups, settings.lr, momentum=settings.momentum)


def _rmsprop(groups: Groups, settings: Rates) -> "Optimizer":
    from torch.optim import RMSprop

    return RMSprop(groups, settings.lr, momentum=settings.momentum)


def _adam(groups: Groups, settings: Rates) -> "Optimizer":
    from torch.optim import Adam

    return Adam(groups, settings.lr, **_betas(groups, settings))


def _adamw(groups: Groups, settings: Rates) -> "Optimizer":
    from torch.optim import AdamW

    return AdamW(groups, settings.lr, **_betas(groups, settings))


def _muon(groups: Groups, settings: Rates) -> "Optimizer":
    from rnncli.training.muon import Muon

    return Muon(groups, settings.lr, momentum=settings.momentum, **_betas(groups, settings))


def _normuon(groups: Groups, settings: Rates) -> "Optimizer":
    from rnncli.training.muon import NorMuon

    return NorMuon(groups, settings.lr, momentum=settings.momentum, **_betas(groups, settings))


def _betas(groups: Groups, settings: Rates) -> dict[str, Any]:
    """Return the arguments of Adam's family; torch has no fused kernel of it for Apple's GPUs."""
    device = groups[0]["params"][0].device.type
    return {"betas": (settings.beta1, settings.beta2), "fused": device != "mps"}


_ADAM = {"beta1": 0.9, "beta2": 0.999}
_MUON = {"lr": 1e-2, "momentum": 0.95, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.1}

_KINDS = {
    "sgd": OptimizerKind(_sgd, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0}, recordable=True),
    "rmsprop": OptimizerKind(_rmsprop, {"lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0}, recordable=True),
    "adam": OptimizerKind(_adam, {"lr": 1e-3, **_ADAM, "weight_decay": 0.0}, recordable=True),
    "adamw": OptimizerKind(_adamw, {"lr": 1e-3, **_ADAM, "weight_decay": 0.01}, recordable=True),
    "muon": OptimizerKind(_muon, _MUON, recordable=True, orthogonal=True),
    "normuon": OptimizerKind(_normuon, _MUON, recordable=True, orthogonal=True),
}

OPTIMIZERS: Registry[OptimizerKind] = Registry("rnncli.optimizers", OptimizerKind, _KINDS)
"""A default tuned by a task or preset belongs to the optimizer it was tuned for; any other starts from these.

SGD, RMSprop and Adam add weight decay to the gradient (L2); AdamW and both Muons shrink the weights by it.
"""


def optimizer_tensors(optimizer: "Optimizer") -> "dict[str, Tensor]":
    """Return the optimizer's state of each parameter as `<parameter>.<name>` -> tensor; numbers become tensors too.

    Raises RnnError for anything else: a run could not be resumed without it.
    """
    import torch

    tensors = {}
    for place, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, int | float):
                tensors[f"{place}.{name}"] = torch.tensor(value, dtype=torch.float64)
            elif isinstance(value, torch.Tensor):
                tensors[f"{place}.{name}"] = value
            elif value is not None:
                kind = type(value).__name__
                raise RnnError(f"the optimizer keeps a {kind}, {name!r}: a checkpoint holds tensors and numbers")
    return tensors


def restore_optimizer(optimizer: "Optimizer", rates: Rates, tensors: "Mapping[str, Tensor]") -> None:
    """Restore the state from `optimizer_tensors`; the groups keep the settings they were built with.

    Raises ValueError for tensors that such an optimizer does not keep of these parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    kept = _kept_of_small(optimizer, rates)
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        place, _, name = key.partition(".")
        state.setdefault(int(place), {})[name] = value
    for number, values in state.items():
        if not 0 <= number < len(parameters) or values.keys() != kept[number].keys():
            raise ValueError(f"optimizer.{number} has {', '.join(sorted(values))}")
        for name, value in values.items():
            like = kept[number][name]
            wanted = () if isinstance(like, int | float) else _shape_of(like.shape, parameters[number].shape)
            if tuple(value.shape) != wanted or not value.is_floating_point():
                raise ValueError(f"optimizer.{number}.{name} is of another shape or type")
            if name in NEVER_NEGATIVE and bool((value < 0).any()):
                raise ValueError(f"optimizer.{number}.{name} is negative")
            if isinstance(like, int | float):
                values[name] = type(like)(value.item())
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


NEVER_NEGATIVE = ("step", "exp_avg_sq", "square_avg", "squares")
"""Counts and mean squares, whose roots are taken."""


def _kept_of_small(optimizer: "Optimizer", rates: Rates) -> "list[dict[str, Tensor | float]]":
    """Find what an optimizer keeps of each parameter, by a step with small ones: matrices (2, 3), vectors (2,)."""
    import torch
    from torch import nn

    groups: Groups = []
    for group in optimizer.param_groups:
        small = [nn.Parameter(torch.zeros(tuple(range(2, 2 + each.dim())))) for each in group["params"]]
        for each in small:
            each.grad = torch.zeros_like(each)
        groups.append({name: group[name] for name in ("weight_decay", "orthogonal") if name in group})
        groups[-1]["params"] = small
    twin = OPTIMIZERS[rates.optimizer].build(groups, rates)
    twin.step()
    return [
        {name: value for name, value in twin.state[each].items() if isinstance(value, torch.Tensor | int | float)}
        for group in groups
        for each in group["params"]
    ]


def _shape_of(kept: Sequence[int], parameter: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a kept tensor from that of a small parameter's, (2, 3): (2, 1) means one value per row."""
    sizes = dict(enumerate(parameter, start=2))
    return tuple(sizes.get(small, small) for small in kept)
