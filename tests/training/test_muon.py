"""Muon against torch's own, NorMuon against its paper's algorithm in float64; which matrices they orthogonalise."""

import pytest
import torch
from torch import Tensor

from rnncli.cells import make_cell
from rnncli.training.muon import COEFFICIENTS, STEPS, Muon, NorMuon, orthogonal
from rnncli.training.optimizers import make_optimizer
from rnncli.training.settings import TrainingSettings


def plain(matrix: Tensor) -> Tensor:
    """Run the iteration as its inventors write it, in float64."""
    a, b, c = COEFFICIENTS
    x = matrix.double() if matrix.shape[0] <= matrix.shape[1] else matrix.double().t()
    x = x / x.norm()
    for _ in range(STEPS):
        gram = x @ x.t()
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.t()


@pytest.mark.parametrize("shape", [(64, 16), (16, 64), (33, 33), (5, 1)])
def test_equals_the_plain_iteration(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) * torch.logspace(0, -2, shape[1])
    found, wanted = orthogonal(matrix), plain(matrix)
    assert (found - wanted).norm() < 1e-3 * wanted.norm()
    assert torch.linalg.svdvals(orthogonal(torch.randn(shape))).min() > 0.6


def test_no_gradient_means_no_step() -> None:
    assert torch.equal(orthogonal(torch.zeros(4, 3)), torch.zeros(4, 3))


def test_steps_equal_torchs_muon() -> None:
    torch.manual_seed(1)
    ours, theirs = (torch.nn.Parameter(value) for value in torch.randn(24, 8).repeat(2, 1, 1))
    first = Muon([{"params": [ours], "orthogonal": True, "weight_decay": 0.1}], lr=0.01)
    second = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        gradient = torch.randn(24, 8)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        before = ours.detach().clone()
        first.step()
        second.step()
        moved = (ours - before).norm()
        assert (ours - theirs).norm() < 0.05 * moved  # torch's rounds to bfloat16 internally


def test_normuon_equals_its_papers_algorithm() -> None:
    """Algorithm 1 of Li et al. 2025, with the decoupled decay and Nesterov's momentum that Muon has."""
    torch.manual_seed(2)
    ours = torch.nn.Parameter(torch.randn(24, 8))
    theirs, momentum, squares = ours.detach().double(), torch.zeros(24, 8).double(), torch.zeros(24).double()
    optimizer = NorMuon([{"params": [ours], "orthogonal": True, "weight_decay": 0.1}], lr=0.01)
    for _ in range(4):
        gradient = torch.randn(24, 8) * torch.logspace(0, -2, 24)[:, None]
        ours.grad = gradient.clone()
        before = ours.detach().clone()
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient.double()
        update = plain(0.95 * momentum + 0.05 * gradient.double())
        squares = 0.95 * squares + 0.05 * update.square().mean(1)
        rows = update / squares.sqrt()[:, None]
        theirs = theirs - 0.01 * 0.1 * theirs - 0.01 * 0.2 * (24 * 8) ** 0.5 / rows.norm() * rows
        assert (ours - theirs).norm() < 1e-3 * (ours - before).norm()


@pytest.mark.parametrize("name", ["muon", "normuon"])
def test_only_matrices_of_cells_are_orthogonalised(name: str) -> None:
    model = torch.nn.ModuleDict({"cell": make_cell("lstm", 3, 4), "output": torch.nn.Linear(4, 5)})
    optimizer = make_optimizer(model, TrainingSettings(optimizer=name, lr=0.1, weight_decay=0.01))
    orthogonal, matrices, vectors = optimizer.param_groups
    shapes = [[tuple(each.shape) for each in group["params"]] for group in (orthogonal, matrices, vectors)]
    assert shapes == [[(16, 3), (16, 4), (8, 4), (4, 4)], [(5, 4)], [(16,), (4,), (4,), (5,)]]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.01, 0.0]
