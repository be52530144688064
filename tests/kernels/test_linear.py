"""The output layer fused with its loss, against F.linear and F.cross_entropy: values, gradients and edge cases."""

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from support.tape import Checking
from torch import Tensor
from torch.nn import functional as F

from rnncli.analysis.peak_memory import peak
from rnncli.kernels import linear
from rnncli.kernels.graphs import Graphs, recorder_on
from rnncli.kernels.matmul import fast_matmul
from rnncli.kernels.precision import forward_pass, has_bfloat16, training_precision, trouble, using

IGNORED = -100


@pytest.fixture(autouse=True, params=["cpu", "card"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Use blocks of three rows, so that every test crosses block boundaries, at all sizes.

    Every test runs as a CPU computes, and as a card does.
    """
    monkeypatch.setattr(linear, "MIN_SCORES", 1)
    monkeypatch.setattr(linear, "MIN_ROUNDED", 1)
    chosen = linear.CPU if request.param == "cpu" else linear.CARD
    monkeypatch.setattr(linear, "CPU", chosen._replace(scores=3 * 40, rows=1))
    with fast_matmul("float32"):
        yield request.param


def recordable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse what a CUDA graph cannot record, where the function computes as on a card."""

    def call(*arguments: Any, **options: Any) -> Any:
        with Checking() as calls:
            result = function(*arguments, **options)
        assert not (linear.CPU.static and calls.reason), calls.reason
        return result

    return call


linear_cross_entropy, linear_score, linear_surprisals = map(
    recordable, (linear.linear_cross_entropy, linear.linear_score, linear.linear_surprisals)
)


class Case(NamedTuple):
    hidden: Tensor
    weight: Tensor
    bias: Tensor
    targets: Tensor

    @property
    def trainable(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.hidden, self.weight, self.bias

    def double(self) -> "Case":
        return Case(*(each.detach().double().requires_grad_() for each in self.trainable), self.targets)


def a_case(N: int = 17, M: int = 6, V: int = 40, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> Case:
    torch.manual_seed(N + M + V)
    hidden, weight = torch.randn(N, M, dtype=dtype) * scale, torch.randn(V, M, dtype=dtype)
    case = Case(hidden, weight, torch.randn(V, dtype=dtype), torch.randint(V, (N,)))
    for each in case.trainable:
        each.requires_grad_()
    return case


def plain(case: Case, smoothing: float = 0.0) -> Tensor:
    scores = F.linear(case.hidden, case.weight, case.bias)
    return F.cross_entropy(scores, case.targets, reduction="sum", label_smoothing=smoothing)


def found(loss: Tensor, case: Case) -> list[Tensor]:
    """Return the loss, and the gradients of 0.37 times the loss."""
    return [loss.detach(), *torch.autograd.grad(0.37 * loss, case.trainable)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("N", "M", "V"), [(17, 6, 40), (1, 5, 9), (3, 1, 2), (64, 30, 300)])
def test_values_and_gradients_equal_torch(
    dtype: torch.dtype, tolerance: float, smoothing: float, N: int, M: int, V: int
) -> None:
    case = a_case(N, M, V, dtype)
    case.targets[::5] = IGNORED if N > 1 else 0
    ours = found(linear_cross_entropy(*case, smoothing=smoothing), case)
    exact = case.double()
    for mine, wanted in zip(ours, found(plain(exact, smoothing), exact), strict=True):
        torch.testing.assert_close(mine.double(), wanted, rtol=tolerance, atol=tolerance)
        assert mine.dtype == dtype


def test_gradients_of_a_word_model_keep_float32_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "CPU", linear.CPU._replace(scores=100 * 3000))
    case = a_case(250, 64, 3000, torch.float32)
    exact = case.double()
    for mine, wanted in zip(found(linear_cross_entropy(*case), case), found(plain(exact), exact), strict=True):
        assert (mine - wanted).norm() < 1e-6 * wanted.norm()


def test_no_targets_give_zero_loss_and_gradients() -> None:
    case = a_case()
    case.targets.fill_(IGNORED)
    assert not any(each.any() for each in found(linear_cross_entropy(*case), case))
    assert [float(each) for each in linear_score(*case)] == [0.0, 0.0]


@pytest.mark.parametrize("scale", [300.0, 1e5])
def test_huge_scores_do_not_overflow(scale: float) -> None:
    case = a_case(dtype=torch.float32, scale=scale)
    exact = case.double()
    for mine, wanted in zip(found(linear_cross_entropy(*case), case), found(plain(exact), exact), strict=True):
        torch.testing.assert_close(mine.double(), wanted, rtol=1e-5, atol=1e-3 * scale / 300)


def test_very_unlikely_target_has_a_finite_correct_loss() -> None:
    case = a_case(dtype=torch.float32)
    with torch.no_grad():
        case.bias[7] -= 500.0
    case.targets[3:6] = 7
    exact = case.double()
    for mine, wanted in zip(found(linear_cross_entropy(*case), case), found(plain(exact), exact), strict=True):
        torch.testing.assert_close(mine.double(), wanted, rtol=1e-5, atol=1e-5)
    assert float(linear_score(*case)[0]) == pytest.approx(plain(exact).item(), rel=1e-6)


def test_only_trainable_tensors_get_gradients() -> None:
    case = a_case()
    frozen = case._replace(weight=case.weight.detach())
    loss = linear_cross_entropy(*frozen)
    loss.backward()
    exact = torch.autograd.grad(plain(case), (case.hidden, case.bias))
    assert case.weight.grad is None
    torch.testing.assert_close([frozen.hidden.grad, frozen.bias.grad], list(exact))
    with torch.no_grad():
        assert not linear_cross_entropy(*case).requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(linear_cross_entropy(*case), loss.detach())


def test_tied_weights_add_both_gradients() -> None:
    case = a_case(V=40)
    words = torch.randint(40, (17,))
    losses: list[Any] = [linear_cross_entropy, lambda h, w, b, t: plain(Case(h, w, b, t))]
    ours, wanted = (
        torch.autograd.grad(loss(F.embedding(words, case.weight).tanh(), *case[1:]), case.weight) for loss in losses
    )
    torch.testing.assert_close(ours, wanted)


def test_second_backward_pass_is_refused() -> None:
    case = a_case()
    loss = linear_cross_entropy(*case)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="supports one backward pass"):
        loss.backward()


def test_score_counts_the_likeliest_targets() -> None:
    case = a_case(dtype=torch.float32)
    case.targets[:4] = IGNORED
    scores = F.linear(case.hidden, case.weight, case.bias).detach()
    case.targets[4:9] = scores[4:9].argmax(-1)
    loss, hits = linear_score(*case)
    torch.testing.assert_close(loss, plain(case).detach())
    assert int(hits) == int((scores.argmax(-1) == case.targets).sum()) >= 5
    surprisals = linear_surprisals(*case[:3], case.targets.clamp(min=0))
    assert surprisals.dtype == torch.float64
    torch.testing.assert_close(surprisals[4:].sum().float(), loss)


@pytest.mark.parametrize("way", ["cpu"], indirect=True)
def test_softmax_out_of_place_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    case = a_case(dtype=torch.float32)
    there = found(linear_cross_entropy(*case), case)
    monkeypatch.setattr(linear, "_softmax_is_sound_in_place", lambda *_: False)
    for first, second in zip(there, found(linear_cross_entropy(*case), case), strict=True):
        assert torch.equal(first, second)


@pytest.mark.skipif(not has_bfloat16(), reason="waits for a processor that multiplies bfloat16")
def test_bfloat16_rounds_only_where_requested() -> None:
    case = a_case(250, 64, 300, torch.float32)
    exact = case.double()
    wanted = found(plain(exact), exact)
    with fast_matmul("bfloat16"):
        rounded = found(linear_cross_entropy(*case), case)
        scored, _ = linear_score(*case)
        with fast_matmul():
            again = found(linear_cross_entropy(*case), case)
        with fast_matmul("float32"):
            precise = found(linear_cross_entropy(*case), case)
    for mine, same, good, true in zip(rounded, again, precise, wanted, strict=True):
        assert 1e-5 < (mine - true).norm() / true.norm() < 3e-2  # scores of 20 are rounded, too
        assert torch.equal(mine, same)
        assert (good - true).norm() < 1e-6 * true.norm()
    torch.testing.assert_close(scored.double(), wanted[0], rtol=1e-6, atol=0)


HALVES = {"bfloat16": 8e-3, "float16": 1e-3}
"""The greatest error of a gradient, norm-wise: of the factors, and of results that a CPU rounds too."""


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("hidden_type", ["its own", "autocast's"])
def test_autocast_rounds_factors_and_nothing_else(name: str, hidden_type: str) -> None:
    case = a_case(50, 24, 300, torch.float32, scale=0.2)
    case.targets[::7] = IGNORED
    half = getattr(torch, name)
    if hidden_type == "autocast's":
        case = case._replace(hidden=case.hidden.detach().to(half).requires_grad_())
    exact = case.double()
    with torch.autocast("cpu", half):
        loss = linear_cross_entropy(*case, smoothing=0.1)
    ours = found(loss, case)
    assert [each.dtype for each in ours] == [torch.float32, case.hidden.dtype, torch.float32, torch.float32]
    for mine, wanted in zip(ours, found(plain(exact, 0.1), exact), strict=True):
        assert (mine.double() - wanted).norm() < HALVES[name] * wanted.norm()


@pytest.mark.parametrize("way", ["card"], indirect=True)
@pytest.mark.parametrize("name", HALVES)
def test_small_gradients_survive_a_half_on_a_card(name: str) -> None:
    """Of words with a probability of 1e-8, which float16 rounds to 0, and of a target predicted with p 0.996."""
    case = a_case(12, 8, 40, torch.float32, scale=0.01)
    with torch.no_grad():
        case.bias[:] = 0.0
        case.bias[:5] = -9.0
        case.bias[7] = 9.0
    case.targets[:] = 7
    exact = case.double()
    wanted = found(plain(exact), exact)
    with torch.autocast("cpu", getattr(torch, name)):
        loss = linear_cross_entropy(*case)
    dX, dW, db = torch.autograd.grad(loss, case.trainable)
    for mine, true in ((db[:5], wanted[3][:5]), (db[7], wanted[3][7]), (dW[7], wanted[2][7])):
        assert (mine - true / 0.37).norm() < 0.02 * true.norm() / 0.37
    assert dX.isfinite().all()


@pytest.mark.parametrize("way", ["card"], indirect=True)
@pytest.mark.parametrize(("N", "V"), [(700, 100), (600, 2_000), (9, 100_000), (5, 1_000_000)])
def test_vocabularies_of_all_sizes(N: int, V: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "CPU", linear.CARD._replace(scores=50_000, rows=4))
    case = a_case(N, 4, V)  # in float32, torch's log_softmax on a CPU sums a million values to 3e-5 only
    for mine, wanted in zip(found(linear_cross_entropy(*case), case), found(plain(case), case), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-10, atol=1e-12)


def test_features_without_a_target_change_nothing() -> None:
    """Whatever stands where a batch is padded."""
    case = a_case(dtype=torch.float32)
    case.targets[4:9] = IGNORED
    wanted = found(linear_cross_entropy(*case), case)
    with torch.no_grad():
        case.hidden[4:9] = torch.inf
    for mine, same in zip(found(linear_cross_entropy(*case), case), wanted, strict=True):
        assert torch.equal(mine, same)
    assert not wanted[1][4:9].any()


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured on Linux only")
def test_memory_is_that_of_a_block(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    scores, N, V = 200_000, 500, 8_000
    monkeypatch.setattr(linear, "CPU", linear.CPU._replace(scores=scores))
    case = a_case(N, 4, V, torch.float32)

    def stepping(loss: Callable[[Case], Tensor]) -> int:
        return peak(lambda: lambda: found(loss(case), case) and None)

    ours, torchs = stepping(lambda each: linear_cross_entropy(*each)), stepping(plain)
    assert ours < (1 if way == "cpu" else 2) * 4 * scores + 8_000_000  # blocks of scores, and what is small
    assert torchs > max(2 * 4 * N * V, 3 * ours)


def test_other_devices_and_dtypes_use_torch() -> None:
    case = a_case()
    half = Case(*(each.detach().bfloat16().requires_grad_() for each in case.trainable), case.targets)
    for mine, wanted in zip(found(linear_cross_entropy(*half), half), found(plain(half), half), strict=True):
        assert torch.equal(mine, wanted)


@pytest.mark.cuda
@pytest.mark.parametrize("way", ["card"], indirect=True)
@pytest.mark.parametrize("V", [100, 10_000, 250_000])
@pytest.mark.parametrize(
    ("precision", "error"), [("float32", 1e-5), ("tf32", 4e-3), ("bfloat16", 2e-2), ("float16", 4e-3)]
)
def test_cuda_equals_float64_in_every_precision_also_by_a_graph(
    precision: str, error: float, V: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := trouble(precision, "cuda"):
        pytest.skip(reason)
    monkeypatch.setattr(linear, "CARD", linear.CARD._replace(scores=100, rows=100))
    case = a_case(250, 64, V, torch.float32, scale=0.1)
    case.targets[::5] = IGNORED
    exact = case.double()
    wanted = found(plain(exact), exact)
    there = Case(*(each.detach().cuda().requires_grad_() for each in case.trainable), case.targets.cuda())

    def step() -> list[Tensor]:
        with forward_pass("cuda"):
            loss = linear.linear_cross_entropy(*there)
        return found(loss, there)

    graphs = Graphs(recorder_on(torch.device("cuda")))
    with using(precision), training_precision():
        for _ in range(4):
            for mine, true in zip(graphs.run("step", step, uses=there.trainable), wanted, strict=True):
                assert (mine.cpu() - true).norm() < error * true.norm()
    assert not graphs.refused
    loss, hits = linear.linear_score(*there)
    torch.testing.assert_close(loss.cpu().double(), wanted[0], rtol=1e-5, atol=0)
    assert int(hits) == int(linear.linear_score(*case)[1])
