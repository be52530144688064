"""`rnn bench`: tables for people, one JSON object for programs, and a picture on request."""

import json
import sys
from pathlib import Path

import pytest

from rnncli.analysis import bench, bench_cells, bench_costs
from rnncli.kernels.fused import trouble


@pytest.fixture
def quick(rnn, monkeypatch: pytest.MonkeyPatch, plain_loops: None):
    """The command line, with tiny shapes."""
    small = bench_cells.Shape(3, 2, 4, 4)
    monkeypatch.setattr(bench, "LONG_ENOUGH", 0.0)
    monkeypatch.setattr(bench, "MATMUL", (2, 3, 4))
    monkeypatch.setattr(bench_cells, "SHAPES", (small,) * 3)
    monkeypatch.setattr(bench_cells, "installed", lambda name: False)
    monkeypatch.setattr(bench_cells, "has_bfloat16", lambda: True)
    monkeypatch.setattr(bench, "has_bfloat16", lambda: True)
    monkeypatch.setattr(bench_costs, "SHAPES", (bench_cells.Shape(40, 64, 128, 128),))
    monkeypatch.setattr(bench_costs, "STEPS", (2, 4))
    monkeypatch.setattr(bench_costs, "BATCHES", (1, 2))
    return rnn


def test_cells(quick) -> None:
    ran = quick("bench cells --cell elman --rounds 1")
    assert ran.code == 0
    assert "torch at medium, ms" in ran.out
    assert "T12-B1-M4" in ran.out
    assert "ours / floor" in ran.out
    floor = [] if trouble() else ["floor"]  # numba may be absent
    found = json.loads(quick("bench cells --cell lstm:full --rounds 1 --json").out)
    assert [row["name"] for row in found["rows"]] == ["lstm:full"] * 3 + ["lstm:full, bfloat16"] * 3
    assert found["rows"][0].keys() == {"name", "shape", "milliseconds", "ratio", "over_floor"}
    assert found["rows"][0]["milliseconds"].keys() == {"ours", "torch", "torch at medium", *floor}
    assert found["rows"][3]["milliseconds"].keys() == {"ours", "torch", "torch in bfloat16", *floor}
    assert found["gflops"].keys() == {"float32, torch's choice", "float32", "bfloat16"}
    refused = quick("bench cells --cell flute")
    assert (refused.code, refused.err.count("\n")) == (2, 1)


def test_cells_says_what_it_leaves_out(quick, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_cells, "trouble", lambda: "the fused backend needs numba: none here")
    monkeypatch.setattr(bench_cells, "has_bfloat16", lambda: False)
    ran = quick("bench cells --cell elman --shape T12 --rounds 1")
    assert ran.code == 0
    for line in (
        "the fused backend needs numba: none here; ours is a plain loop of steps; its compiled code (compiled only)",
        "JAX is not installed: its column is left out",
        "this processor has no instructions for bfloat16: its rows are left out",
    ):
        assert line in ran.err
    assert "plain loop, ms" in ran.out
    assert "compiled only" not in ran.out
    assert len(json.loads(quick("bench cells --cell elman --shape T12 --rounds 1 --json").out)["left_out"]) == 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured on Linux only")
def test_memory(quick) -> None:
    assert "ours / torch" in quick("bench memory").out
    (row,) = json.loads(quick("bench memory --json").out)["rows"]
    assert row["ratio"] == row["ours"] / row["torch"]


def test_growth(quick, tmp_path: Path) -> None:
    picture = tmp_path / "growth.png"
    ran = quick(f"bench growth --cell elman --hidden 4 --rounds 1 --out {picture}")
    assert "ms per sequence" in ran.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert json.loads(quick("bench growth --hidden 4 --rounds 1 --json").out)["by T"].keys() == {"2", "4"}
