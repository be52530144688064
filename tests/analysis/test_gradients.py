"""Gradient flow: against a closed form, against finite differences, and at overflow."""

import json
from pathlib import Path

import pytest
import torch
from support.kinds import KINDS

from rnncli.analysis.gradients import Flow, flows_of, horizon, of_fresh_cells, of_model, scale_to_radius
from rnncli.analysis.plots import draw_gradients
from rnncli.api import load
from rnncli.cells import make_cell, use_cell
from rnncli.cells.base import Cell, Hidden
from rnncli.errors import RnnError, UsageError


@pytest.mark.parametrize("radius", [0.5, 1.0, 1.5])
def test_linear_chain_decays_by_its_radius_per_step(radius: float) -> None:
    # without inputs an Elman net stays at h = 0, where tanh is the identity, and its Wh is orthogonal times the radius
    (flow,) = of_fresh_cells(["elman"], [radius], hidden=8, length=20, inputs=0.0)
    assert flow.norms == pytest.approx([radius**lag for lag in range(20)], rel=1e-9)
    assert flow.factor == pytest.approx(radius)
    assert flow.horizon == (7 if radius == 0.5 else None)  # 0.5^7 < 1 % < 0.5^6


@pytest.mark.parametrize("kind", KINDS)
def test_norms_match_finite_differences(kind: str) -> None:
    """Every state is shifted, and the loss of the following steps is computed again."""
    T, M = 5, 3
    torch.manual_seed(1)
    cell = make_cell(kind, 2, M).double()
    x, direction = torch.randn(T, 1, 2, dtype=torch.float64), torch.randn(M, dtype=torch.float64)
    flow = flows_of([cell], x, lambda h: (h * direction).sum(), kind, 0.0)[0]
    projected = cell.project(x).detach()

    def loss_after(t: int, state) -> float:
        for step in range(t + 1, T):
            state = cell.step(projected[step], state)
        return float((state.h * direction).sum())

    with torch.no_grad():
        state = cell.initial_state(1)
        for t in range(T):
            state = cell.step(projected[t], state)
            shifts = 1e-6 * torch.eye(M, dtype=torch.float64)[:, None]
            slopes = [
                loss_after(t, state._replace(h=state.h + shift)) - loss_after(t, state._replace(h=state.h - shift))
                for shift in shifts
            ]
            assert flow.norms[T - 1 - t] == pytest.approx(float(torch.tensor(slopes).norm()) / 2e-6, rel=1e-4)


def test_last_memory_reaches_the_loss_through_the_output_gate() -> None:
    cell = make_cell("lstm:none", 2, 3).double()
    x = torch.randn(1, 1, 2, dtype=torch.float64)
    _, memory = flows_of([cell], x, lambda h: h.sum(), "lstm", 0.0)
    with torch.no_grad():
        projected = cell.project(x)[0]
        o, c = torch.sigmoid(projected[:, 9:]), cell.step(projected, cell.initial_state(1)).c
    assert memory.norms == pytest.approx([float((o * (1 - c.tanh() ** 2)).norm())])


def test_gradient_of_a_layer_passes_through_the_layer_above() -> None:
    torch.manual_seed(0)
    below, above = make_cell("elman", 2, 3).double(), make_cell("elman", 3, 3).double()
    x = torch.zeros(4, 1, 2, dtype=torch.float64)
    direction = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    first, second = flows_of([below, above], x, lambda h: (h * direction).sum(), "two", 0.0)
    assert [flow.state for flow in (first, second)] == ["h1", "h2"]
    grad = above.weight_x.detach().T @ direction  # all is linear at zero
    assert first.norms[0] == pytest.approx(float(grad.norm()))
    assert second.norms[3] == pytest.approx(float(direction.norm()))


def test_clipping_scales_norms_and_keeps_the_horizon() -> None:
    (free,) = of_fresh_cells(["elman"], [1.4], length=60, clip=0.0)
    (clipped,) = of_fresh_cells(["elman"], [1.4], length=60, clip=0.5)
    assert free.clipped_norm == free.weight_norm == clipped.weight_norm > 0.5
    assert clipped.clipped_norm == 0.5
    assert horizon(clipped.clipped) == clipped.horizon == free.horizon
    assert clipped.clipped[0] == pytest.approx(clipped.norms[0] * 0.5 / clipped.weight_norm)


def test_factor_is_the_radius_even_if_the_norm_vanishes() -> None:
    (flow,) = of_fresh_cells(["elman"], [0.5], hidden=4, length=2_000, inputs=0.0)
    assert flow.norms[-1] == 0
    assert flow.factor == pytest.approx(0.5, rel=1e-3)


def test_a_net_that_is_named_twice_is_shown_once(rnn) -> None:
    printed = json.loads(rnn("gradients --cell elman,elman --radius 1,0.5,1.0 --length 3 --hidden 1 --json").out)
    assert [row["name"] for row in printed["rows"]] == ["elman, radius 1", "elman, radius 0.5"]
    assert printed["of"].startswith("fresh cells of 1 unit,")


def test_cells_without_a_matrix_are_shown_once_and_refuse_a_radius(rnn) -> None:
    printed = json.loads(rnn("gradients --cell lru,elman,mingru --length 3 --hidden 2 --json").out)
    names = list(dict.fromkeys(row["name"] for row in printed["rows"]))
    assert names == ["lru", *(f"elman, radius {radius}" for radius in ("0.5", "1", "1.5")), "mingru:positive"]
    refused = rnn("gradients --cell lru --radius 1")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--radius: cell lru declares no recurrent matrices" in refused.err


def test_field_that_reaches_the_output_a_step_later_counts_from_there() -> None:
    flow = Flow("lru", "imag", [0.0, 1.0, 0.1, 0.001, 0.0], 1.0, 1.0)
    assert flow.horizon == 3
    assert flow.factor == pytest.approx(0.001**0.5)


def test_radius_applies_to_every_gate() -> None:
    cell = make_cell("gru", 4, 6)
    scale_to_radius(cell, 0.7)
    radii = [float(torch.linalg.eigvals(block).abs().max()) for block in cell.weight_h.detach().chunk(3)]
    assert radii == pytest.approx([0.7] * 3, rel=1e-5)


def test_cell_without_recurrent_matrices_is_shown_without_a_radius() -> None:
    step = {"recurrent": (), "step": lambda self, a, s: Hidden(a + 0.5 * s.h)}
    kinds = ["elman", use_cell(type("Fading", (Cell,), step))]
    flows = of_fresh_cells(kinds, [0.5, 1.0], hidden=4, length=9, skips_radii=True)
    assert [flow.name for flow in flows] == ["elman, radius 0.5", "elman, radius 1", "Fading"]
    assert flows[2].norms == pytest.approx([0.5**lag for lag in range(9)])


def test_invalid_gradient_options_are_refused() -> None:
    with pytest.raises(UsageError, match="--radius must lie above 0"):
        of_fresh_cells(["elman"], [-1.0])
    with pytest.raises(UsageError, match="--length must lie between 1"):
        of_fresh_cells(["elman"], length=0)
    with pytest.raises(RnnError, match="the gradient overflows"):
        of_fresh_cells(["elman"], [50.0], hidden=4, length=1000, inputs=0.0)


def test_a_trained_net_is_shown_next_to_its_fresh_weights(rnn, trained, tmp_path: Path) -> None:
    assert trained("train parity --seed 1 --name mine").code == 0
    trained_flow, fresh = of_model(load("mine"), "011010011010")
    assert (trained_flow.name, fresh.name) == ("elman 4, trained", "elman 4, fresh")
    assert len(trained_flow.norms) == 12
    assert trained_flow.norms != fresh.norms
    bits = tmp_path / "bits.txt"
    bits.write_text("0110100\n")
    read = [json.loads(rnn(f"gradients --from mine --text {text} --json").out) for text in (bits, "0110100")]
    assert read[0] == read[1]
    assert read[0]["length"] == 7
    assert "missing.txt does not exist" in rnn("gradients --from mine --text missing.txt").err
    assert rnn("gradients --from mine --text 0120").err == "rnn: error: --text must be bits such as 0110, not '0120'\n"


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_pictures_show_every_net(name: str, tmp_path: Path) -> None:
    flows = of_fresh_cells(["elman", "lstm"], [0.5, 1.5], hidden=4, length=30)
    file = draw_gradients(flows, tmp_path / name, title="fresh cells").path
    if name.endswith("png"):
        assert file.read_bytes().startswith(b"\x89PNG")
    else:
        text = file.read_text()
        assert all(f"<!-- {shown} -->" in text for shown in ("elman", "lstm:full", "radius 0.5, c"))
