"""Functions of tensors as graphs: when they are recorded, what is copied, and what is refused."""

import time
from threading import Thread
from typing import Any, NamedTuple

import pytest
import torch
from support.tape import TapeRecorder
from torch import Tensor

from rnncli.errors import RnnError
from rnncli.kernels.graphs import IDLE, Graphs, Recorder, in_graph, recorder_on


@pytest.fixture(params=["tape", pytest.param("cuda", marks=pytest.mark.cuda)])
def recorder(request: pytest.FixtureRequest) -> Recorder:
    """A tape on the CPU, and where there is a card, its own graphs."""
    if request.param == "tape":
        return TapeRecorder()
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    found = recorder_on(torch.device("cuda"))
    assert found is not None
    return found


class Point(NamedTuple):
    x: Tensor
    y: Any


def test_third_call_replays_on_its_own_arguments(recorder: Recorder) -> None:
    graphs, calls = Graphs(recorder), 0

    def double(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return 2 * x

    found = [graphs.run("double", double, torch.full((2,), float(value), device=recorder.device)) for value in range(5)]
    assert [each.tolist() for each in found] == [[2.0 * value] * 2 for value in range(5)]  # results are not overwritten
    assert calls == 2  # the first time, and for the recording


def test_each_shape_type_key_and_plain_value_has_its_own_graph(recorder: Recorder) -> None:
    graphs, calls = Graphs(recorder, limit=100), []

    def scaled(x: Tensor, factor: int) -> Tensor:
        calls.append((x.shape, x.dtype, factor))
        return x * factor

    cases = [(torch.ones(2), 3), (torch.ones(3), 3), (torch.ones(2, dtype=torch.double), 3), (torch.ones(2), 4)]
    for _ in range(3):
        for x, factor in cases:
            assert graphs.run("scaled", scaled, x.to(recorder.device), factor).tolist() == [factor] * len(x)
    assert len(calls) == 2 * len(cases)
    assert graphs.run("negative", lambda x, _: -x, cases[0][0].to(recorder.device), 3).tolist() == [-1, -1]


def test_structures_come_back_as_they_are(recorder: Recorder) -> None:
    graphs = Graphs(recorder)

    def swapped(point: Point, more: dict[str, Any]) -> Any:
        return {"point": Point(point.y[0] + 1, None), "list": [more["z"] * point.x, "text"], "none": None}

    for value in (1.0, 2.0, 3.0):
        x, y, z = (torch.tensor([value + k], device=recorder.device) for k in range(3))
        found = graphs.run("swapped", swapped, Point(x, (y,)), {"z": z})
        assert isinstance(found["point"], Point)
        assert (found["point"].x.item(), found["point"].y) == (value + 2, None)
        assert (found["list"][0].item(), found["list"][1], found["none"]) == (value * (value + 2), "text", None)


def test_what_a_function_uses_is_read_where_it_is(recorder: Recorder) -> None:
    graphs, weight, calls = Graphs(recorder), torch.ones(1, device=recorder.device), 0

    def add(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        weight.add_(x)
        return weight * 1

    one = torch.ones(1, device=recorder.device)
    assert [graphs.run("add", add, one, uses=[weight]).item() for _ in range(4)] == [2, 3, 4, 5]
    weight = torch.zeros(1, device=recorder.device)  # elsewhere: the graph would change the old one
    assert [graphs.run("add", add, one, uses=[weight]).item() for _ in range(4)] == [1, 2, 3, 4]
    assert calls == 4


def test_arguments_are_moved_to_the_device_and_code_can_tell(recorder: Recorder) -> None:
    graphs, told = Graphs(recorder), []

    def mask(lengths: Tensor) -> Tensor:
        told.append((in_graph(), lengths.device.type))
        return lengths > 1

    for lengths in ([1, 2], [2, 1], [2, 2]):
        assert graphs.run("mask", mask, torch.tensor(lengths)).tolist() == [each > 1 for each in lengths]
    assert told == [(True, recorder.device.type)] * 2
    assert not in_graph()


def test_results_are_written_where_the_caller_wants_them(recorder: Recorder) -> None:
    graphs = Graphs(recorder)

    def fill(x: Tensor, out: Tensor) -> list[Tensor]:
        out.copy_(2 * x)
        return [out]

    for value in (1.0, 2.0, 3.0):
        out = torch.zeros(1, device=recorder.device)
        graphs.run("fill", fill, torch.tensor([value], device=recorder.device), out, into=[out])
        assert out.item() == 2 * value


def test_idle_graphs_give_way_and_busy_ones_stay(recorder: Recorder) -> None:
    graphs, calls = Graphs(recorder, limit=2), []

    def count(x: Tensor) -> Tensor:
        calls.append(len(x))
        return x + 1

    def run(*sizes: int) -> list[int]:
        calls.clear()
        for size in sizes:
            graphs.run("count", count, torch.zeros(size, device=recorder.device))
        return calls

    assert run(1, 2, 1, 2) == [1, 2, 1, 2]
    assert run(3, 3, 1, 2, 3) == [3, 3, 3]  # no graph of its own while the two are in use
    run(*[2] * (IDLE * 2))
    assert run(3, 2, 3, 2, 1) == [3, 1]  # 1 was idle


def test_function_that_reads_on_the_host_is_refused_and_runs_anyway(recorder: Recorder) -> None:
    graphs, told = Graphs(recorder), []

    def read(x: Tensor) -> float:
        told.append(in_graph())
        return x.sum().item()

    for size in (2, 2, 2, 3, 3):
        assert graphs.run("read", read, torch.ones(size, device=recorder.device)) == size
    assert told == [True] + [False] * 4  # lengths stay on the CPU then
    assert list(graphs.refused) == ["read"]
    assert graphs.refused["read"]
    assert not graphs.records("read")
    assert graphs.run("other", torch.neg, torch.ones(1, device=recorder.device)).item() == -1


def test_graph_within_a_graph_is_part_of_it(recorder: Recorder) -> None:
    graphs, inner = Graphs(recorder), []

    def negative(x: Tensor) -> Tensor:
        inner.append(in_graph())
        return -x

    def outer(x: Tensor) -> Tensor:
        return graphs.run("inner", negative, x) * 2

    for value in (1.0, 2.0, 3.0):
        assert graphs.run("outer", outer, torch.tensor([value], device=recorder.device)).item() == -2 * value
    assert inner == [True, True]


def test_nothing_is_recorded_without_a_recorder() -> None:
    graphs = Graphs(recorder_on(torch.device("cpu")))
    assert [graphs.run("told", lambda _: in_graph(), torch.ones(1)) for _ in range(3)] == [False] * 3


def test_failed_recording_is_an_error_with_a_remedy() -> None:
    graphs, calls = Graphs(TapeRecorder(), remedy="use --no-graphs"), 0

    def fickle(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return x.new_tensor(x.sum().item()) if calls > 1 else x  # the first time gives no sign of it

    graphs.run("fickle", fickle, torch.ones(1))
    with pytest.raises(
        RnnError, match=r"^a CUDA graph cannot be recorded: operation not permitted.*; use --no-graphs$"
    ):
        graphs.run("fickle", fickle, torch.ones(1))


def test_random_numbers_are_drawn_at_each_replay(recorder: Recorder) -> None:
    graphs = Graphs(recorder)

    def draw(x: Tensor) -> Tensor:
        return x.new_empty(64).bernoulli_(0.5)

    torch.manual_seed(0)
    found = [graphs.run("draw", draw, torch.ones(1, device=recorder.device)) for _ in range(4)]
    torch.manual_seed(0)
    wanted = [draw(torch.ones(1, device=recorder.device)) for _ in range(4)]
    assert all(map(torch.equal, found, wanted))


def test_graphs_of_inference_serve_training(recorder: Recorder) -> None:
    graphs, one = Graphs(recorder), torch.ones(1, device=recorder.device)
    with torch.inference_mode():
        for _ in range(3):
            graphs.run("double", lambda x: 2 * x, one)
    assert graphs.run("double", lambda x: 2 * x, one).item() == 2


def test_threads_may_replay_one_graph() -> None:
    graphs = Graphs(TapeRecorder())
    found: dict[float, set[float]] = {1.0: set(), 2.0: set()}

    def double(x: Tensor) -> Tensor:
        time.sleep(1e-4)  # lets the other thread run
        return 2 * x

    def work(value: float) -> None:
        for _ in range(20):
            found[value].add(graphs.run("double", double, torch.full((1,), value)).item())

    threads = [Thread(target=work, args=(value,)) for value in found]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == {1.0: {2.0}, 2.0: {4.0}}
