"""Our RNN, GRU and LSTM against torch's: parameters, values and gradients in double precision, and what torch lacks."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from support.covering import covering
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import rnncli.nn as ours
from rnncli.errors import UsageError

pytestmark = pytest.mark.usefixtures("plain_loops")

PAIRS = {"RNN": (ours.RNN, nn.RNN), "GRU": (ours.GRU, nn.GRU), "LSTM": (ours.LSTM, nn.LSTM)}
T, B, D, M = 6, 4, 3, 5
LINEAR: Any = nn.Linear(D, M)
THEIRS: Any = nn.GRU(D, M)


def pair(name: str, **options: Any) -> tuple[Any, Any]:
    """Our layer and torch's with the same seed, in double precision."""
    made = []
    for Layer in PAIRS[name]:
        torch.manual_seed(3)
        made.append(Layer(D, M, dtype=torch.float64, **options))
    return made[0], made[1]


def randoms(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def results(layer: Any, given: Tensor | PackedSequence, hx: Any) -> list[Tensor]:
    """Outputs, last state, and the gradients of input, state and parameters."""
    layer.zero_grad()
    data = given.data.detach().requires_grad_()
    starts = [value.detach().requires_grad_() for value in (hx if isinstance(hx, tuple) else [hx]) if hx is not None]
    outputs, last = layer(
        given._replace(data=data) if isinstance(given, PackedSequence) else data,
        None if hx is None else tuple(starts) if isinstance(hx, tuple) else starts[0],
    )
    fields = last if isinstance(last, tuple) else (last,)
    loss = outputs.data.square().sum() + sum(field.sin().sum() for field in fields)
    loss.backward()
    orders = [each for each in outputs[1:] if each is not None] if isinstance(outputs, PackedSequence) else []
    gradients = [value.grad for value in (data, *starts, *layer.parameters())]
    return [outputs.data, *orders, *fields, *gradients]


AXES: dict[str, list[Any]] = {
    "name": list(PAIRS),
    "num_layers": [1, 3],
    "bidirectional": [False, True],
    "bias": [True, False],
    "batch_first": [False, True],
    "given": ["plain", "single", "packed", "sorted", "equal"],
    "hx": [False, True],
    "backend": ["auto", "reference", "torch"],
}
CASES = [dict(zip(AXES, case, strict=True)) for case in covering(*AXES.values())]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_values_gradients_and_orders_are_those_of_torch(case: dict[str, Any]) -> None:
    options = dict(case)
    name, kind, with_state, backend = (options.pop(key) for key in ("name", "given", "hx", "backend"))
    mine, theirs = pair(name, **options)
    mine.backend = backend
    assert [key for key, _ in mine.named_parameters()] == [key for key, _ in theirs.named_parameters()]
    assert all(map(torch.equal, mine.parameters(), theirs.parameters()))
    lengths = {"packed": [2, 6, 1, 6], "sorted": [6, 5, 5, 2], "equal": [3] * B}
    given: Any = randoms(T, D) if kind == "single" else randoms(*((B, T) if options["batch_first"] else (T, B)), D)
    if kind in lengths:
        given = pack_sequence([randoms(n, D, seed=n) for n in lengths[kind]], enforce_sorted=kind == "sorted")
    hx: Any = None
    if with_state:
        places = options["num_layers"] * (1 + options["bidirectional"])
        shape = (places, M) if kind == "single" else (places, B, M)
        hx = (randoms(*shape), randoms(*shape, seed=2)) if name == "LSTM" else randoms(*shape)
    for found, wanted in zip(results(mine, given, hx), results(theirs, given, hx), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "num_layers", "bidirectional", "bias"), list(product(PAIRS, (1, 2), (False, True), (False, True)))
)
def test_state_dicts_load_strictly_in_both_directions(
    name: str, num_layers: int, bidirectional: bool, bias: bool
) -> None:
    options = {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias}
    mine, theirs = pair(name, **options)
    for source, target in ((mine, theirs), (theirs, mine)):
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.normal_()
        target.load_state_dict(source.state_dict(), strict=True)
        assert all(map(torch.equal, mine.parameters(), theirs.parameters()))
    torch.testing.assert_close(mine(randoms(T, B, D))[0], theirs(randoms(T, B, D))[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False, "batch_first": True}]
)
@pytest.mark.parametrize("name", PAIRS)
def test_single_steps_are_those_of_torch(name: str, options: dict[str, Any]) -> None:
    mine, theirs = pair(name, **options)
    x = randoms(1, B, D).transpose(0, 1) if options.get("batch_first") else randoms(1, B, D)
    for mode in (torch.no_grad, torch.enable_grad):
        with mode():
            outputs, hx = mine(x)
            torch.testing.assert_close((outputs, hx), theirs(x))
            torch.testing.assert_close(mine(x, hx), theirs(x, hx))
    torch.testing.assert_close(results(mine, x, hx), results(theirs, x, hx))
    layer: Any = ours.GRU(D, M, learn_h0=True, reset="before", dtype=torch.float64)
    with torch.no_grad():
        found = layer(x)
    torch.testing.assert_close(found, layer(x))


def test_positional_arguments_are_those_of_torch() -> None:
    for name, extra in (("RNN", ("relu",)), ("GRU", ()), ("LSTM", ())):
        more = (False, True, 0.25, True, *((0,) if name == "LSTM" else ()))
        mine, theirs = (Layer(D, M, 2, *extra, *more, device="cpu", dtype=torch.float64) for Layer in PAIRS[name])
        for attribute in ("bias", "batch_first", "dropout", "bidirectional", "num_layers", "mode", "proj_size"):
            assert getattr(mine, attribute) == getattr(theirs, attribute)
        assert mine.weight_ih_l1_reverse.dtype == torch.float64
        assert [len(each) for each in mine.all_weights] == [len(each) for each in theirs.all_weights]
        mine.flatten_parameters()


def test_dropout_lies_between_layers_and_only_in_training() -> None:
    mine, theirs = pair("GRU", num_layers=3, dropout=0.5)
    for training in (True, False):
        found = []
        for layer in (mine.train(training), theirs.train(training)):
            torch.manual_seed(5)
            found.append(layer(randoms(T, B, D))[0])
        torch.testing.assert_close(*found, rtol=0, atol=1e-12)


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def gru(x: Any, h: Any, c: Any, w: Any) -> tuple[Any, Any]:
    r, z, n = np.split(w["weight_ih_l0"] @ x + w["bias_ih_l0"] + w["bias_hh_l0"], 3)
    Wr, Wz, Wn = np.split(w["weight_hh_l0"], 3)
    r, z = sigmoid(r + Wr @ h), sigmoid(z + Wz @ h)
    return (1 - z) * np.maximum(n + Wn @ (r * h), 0) + z * h, c


def lstm(x: Any, h: Any, c: Any, w: Any) -> tuple[Any, Any]:
    i, f, g, o = np.split(w["weight_ih_l0"] @ x + w["weight_hh_l0"] @ h + w["bias_ih_l0"] + w["bias_hh_l0"], 4)
    Pi, Pf = np.split(w["weight_c_l0"], 2)
    full = w["weight_co_l0"].ndim == 2
    peep: Callable[..., Any] = np.matmul if full else np.multiply
    i, f = sigmoid(i + peep(Pi, c)), sigmoid(f + peep(Pf, c))
    c = f * c + i * np.tanh(g)
    return sigmoid(o + peep(w["weight_co_l0"], c)) * np.tanh(c), c


@pytest.mark.parametrize(
    ("layer", "step"),
    [
        (lambda: ours.GRU(D, M, reset="before", activation="relu", learn_h0=True), gru),
        (lambda: ours.LSTM(D, M, peepholes="diagonal", learn_h0=True), lstm),
        (lambda: ours.LSTM(D, M, peepholes="full", learn_h0=True), lstm),
    ],
    ids=["before", "diagonal", "full"],
)
def test_equations_that_torch_lacks(layer: Callable[[], Any], step: Any) -> None:
    torch.manual_seed(1)
    made = layer().double()
    with torch.no_grad():
        made.h0_l0.normal_()
    w = {name: value.detach().numpy() for name, value in made.named_parameters()}
    x = randoms(T, D)
    h, c = w["h0_l0"], w.get("c0_l0")
    wanted = []
    for each in x.numpy():
        h, c = step(each, h, c, w)
        wanted.append(h)
    torch.testing.assert_close(made(x)[0], torch.from_numpy(np.stack(wanted)), rtol=0, atol=1e-12)
    made(x)[0].sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in made.parameters())


def test_sigmoid_layer_differs_from_tanh_by_its_function() -> None:
    layer: Any = ours.RNN(D, M, nonlinearity="sigmoid", dtype=torch.float64)
    x = randoms(1, D)
    summed = x @ layer.weight_ih_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0
    torch.testing.assert_close(layer(x)[0], torch.sigmoid(summed), rtol=0, atol=1e-12)


def test_own_parameters_begin_as_documented() -> None:
    layer: Any = ours.LSTM(D, 100, 2, bidirectional=True, peepholes="full", learn_h0=True)
    own = {name for name, _ in layer.named_parameters()} - {
        name for name, _ in nn.LSTM(D, 100, 2, bidirectional=True).named_parameters()
    }
    ends = ("l0", "l0_reverse", "l1", "l1_reverse")
    assert own == {f"{name}_{end}" for name in ("h0", "c0", "weight_c", "weight_co") for end in ends}
    for _ in range(2):
        assert not layer.h0_l1.any()
        assert layer.weight_c_l1_reverse.shape == (200, 100)
        assert 0.09 < layer.weight_c_l1_reverse.max() <= 0.1
        assert layer.weight_c_l1_reverse.min() < -0.09
        layer.reset_parameters()


def test_weight_drop_zeroes_a_share_of_weight_hh_in_training() -> None:
    layer: Any = ours.GRU(D, 40, weight_drop=0.25)
    torch.manual_seed(1)
    dropped = layer.cell(0).weight_h
    share = float((dropped == 0).float().mean())
    assert 0.2 < share < 0.3
    kept = dropped != 0
    torch.testing.assert_close(dropped.abs()[kept], layer.weight_hh_l0.detach().abs()[kept] / 0.75)
    layer(torch.randn(T, B, D))[0].sum().backward()
    assert not torch.equal(layer(torch.ones(T, D))[0], layer(torch.ones(T, D))[0])
    layer.eval()
    assert torch.equal(layer(torch.ones(T, D))[0], layer(torch.ones(T, D))[0])


@pytest.mark.parametrize("name", PAIRS)
def test_copies_from_torch_and_back_compute_the_same(name: str) -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5}
    if name == "RNN":
        options["nonlinearity"] = "relu"
    theirs: Any = PAIRS[name][1](D, M, dtype=torch.float64, **options).eval()
    theirs.bias_hh_l1.requires_grad_(False)
    mine: Any = ours.from_torch(theirs, backend="reference")
    again = ours.to_torch(mine)
    assert (type(mine), type(again), mine.backend) == (*PAIRS[name], "reference")
    x = randoms(B, T, D)
    torch.testing.assert_close(mine(x)[0], theirs(x)[0], rtol=0, atol=1e-12)
    assert torch.equal(again(x)[0], theirs(x)[0])
    assert not mine.bias_hh_l1.requires_grad
    assert not again.bias_hh_l1.requires_grad
    with torch.no_grad():
        mine.weight_ih_l0.zero_()
    assert theirs.weight_ih_l0.all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ours.LSTM(D, M, proj_size=2),
         r"^LSTM has no proj_size \(given: 2\): use torch.nn.LSTM for projections$"),
        (lambda: ours.LSTM(D, M, peepholes="some"),
         "^LSTM: peepholes must be one of none, diagonal, full, not 'some'$"),
        (lambda: ours.GRU(D, M, reset="never"), "^GRU: reset must be one of after, before, not 'never'$"),
        (lambda: ours.GRU(D, M, activation="cos"), "^cell gru has no activation 'cos': it has tanh, sigmoid, relu$"),
        (lambda: ours.RNN(D, M, nonlinearity="cos"), "^cell elman has no activation 'cos'"),
        (lambda: ours.RNN(D, M, backend="fast"), "^unknown backend 'fast'"),
        (lambda: ours.RNN(D, M, nonlinearity="sigmoid", backend="torch"),
         "^the torch backend cannot take elman: torch has no layer with its equations"),
        (lambda: ours.RNN(D, M, weight_drop=1.0), "^RNN: weight_drop must be at least 0 and less than 1, not 1.0$"),
        (lambda: ours.from_torch(nn.LSTM(D, M, proj_size=2)), "^LSTM has no proj_size"),
        (lambda: ours.from_torch(LINEAR),
         "^from_torch takes a torch.nn.RNN, GRU or LSTM, not a Linear$"),
        (lambda: ours.to_torch(ours.LSTM(D, M, peepholes="full")), "^torch.nn.LSTM has no full peepholes$"),
        (lambda: ours.to_torch(ours.GRU(D, M, reset="before")), "^torch.nn.GRU has no reset-before$"),
        (lambda: ours.to_torch(ours.GRU(D, M, activation="relu")), "^torch.nn.GRU has no activation relu$"),
        (lambda: ours.to_torch(ours.RNN(D, M, learn_h0=True)),
         r"^torch.nn.RNN has no trainable first state \(learn_h0\)"),
        (lambda: ours.to_torch(THEIRS),
         "^to_torch takes an RNN, GRU or LSTM of rnncli.nn, not a GRU$"),
    ],
)  # fmt: skip
def test_refusals_name_the_fault(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize("sizes", [(0, 5), (3, 0), (3, 5, 0)])
def test_wrong_sizes_are_refused_as_by_torch(sizes: tuple[int, ...]) -> None:
    layers: list[Any] = [nn.GRU, ours.GRU, ours.Elman]
    answers = [answer(Layer, sizes) for Layer in layers]
    assert answers == answers[:1] * 3
    assert answers[0].endswith("must be greater than zero") or sizes[0] == 0  # which torch 2.10 takes


def answer(Layer: type[nn.Module], sizes: tuple[int, ...]) -> str:
    """The error of making a layer, or nothing."""
    try:
        Layer(*sizes)
    except ValueError as error:
        return str(error)
    return ""
