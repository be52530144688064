"""The linear recurrent unit: complex numbers that turn and shrink, as two real fields."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnncli.cells.base import Cell

RING = (0.001, 1.0)
"""Between these radii the first λ lie, uniformly over the area; the paper's default is 0 to 1."""


class LRUState(NamedTuple):
    """The real part h and the imaginary part of M complex numbers, both (B, M)."""

    h: Tensor
    imag: Tensor


class LRU(Cell[LRUState]):
    """The linear recurrent unit (Orvieto et al. 2023, arXiv:2303.06349).

    s = λ s' + γ (x B), with complex s, B and λ = exp(-exp(ν) + i exp(θ)), so that |λ| < 1, and γ = exp(g). As real
    numbers: h = Re(λ) h' - Im(λ) imag' + γ (x Re(B));  imag = Re(λ) imag' + Im(λ) h' + γ (x Im(B)).
    The output is h, the real part of s, not the paper's Re(s C) + D x. A rotation of B makes h any one combination of
    both parts of a unit's s; a residual block mixes units and has a skip connection.
    Shapes: x (B, D), h and imag (B, M), ν, θ and g (M,): `nu_log`, `theta_log`, `gamma_log`; the two blocks of
    `weight_x`, B, are (real, imaginary). Initialisation: λ uniform over the unit disc (`RING`), γ = sqrt(1 - |λ|²), B
    normal with variance 1 / (2 D). Errors as `Cell`.
    """

    name = "lru"
    State = LRUState
    recurrent = ()

    def add_parameters(self) -> None:
        M = self.hidden_size
        self.weight_x = nn.Parameter(torch.empty(2 * M, self.input_size))
        self.nu_log = nn.Parameter(torch.empty(M))
        self.theta_log = nn.Parameter(torch.empty(M))
        self.gamma_log = nn.Parameter(torch.empty(M))

    def init_parameter(self, name: str, parameter: Tensor) -> None:
        if name == "weight_x":
            nn.init.normal_(parameter, 0.0, (2 * self.input_size) ** -0.5)
        elif name == "nu_log":
            parameter.uniform_(RING[0] ** 2, RING[1] ** 2).log_().mul_(-0.5).log_()  # of |λ|²
        elif name == "theta_log":
            parameter.uniform_(1e-6, 1.0).mul_(2 * math.pi).log_()
        elif name == "gamma_log":
            parameter.copy_((-torch.expm1(-2 * self.nu_log.detach().exp())).log() / 2)
        else:
            super().init_parameter(name, parameter)

    def project(self, x: Tensor) -> Tensor:
        weight = self.weight_x.unflatten(0, (2, -1)) * self.gamma_log.exp()[:, None]
        return F.linear(x, weight.flatten(0, 1))

    def step(self, projected: Tensor, state: LRUState) -> LRUState:
        radius, angle = torch.exp(-torch.exp(self.nu_log)), torch.exp(self.theta_log)
        real, imaginary = radius * torch.cos(angle), radius * torch.sin(angle)
        x_real, x_imaginary = projected.chunk(2, -1)
        h = real * state.h - imaginary * state.imag + x_real
        return LRUState(h, real * state.imag + imaginary * state.h + x_imaginary)
