"""What torch does with modules works with our layers: copies, autocast, transforms, several processes, derivatives."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.distributed as dist
from support.outside import CoupledLSTM
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

import rnncli.nn as ours
from rnncli.errors import UsageError
from rnncli.kernels.scan import choose_backend
from rnncli.nn import layers

pytestmark = pytest.mark.usefixtures("plain_loops")

T, B, D, M = 5, 3, 4, 6
DIST: Any = dist
LAYERS: dict[str, Callable[..., Any]] = {
    "RNN": lambda **options: ours.RNN(D, M, **options),
    "GRU": lambda **options: ours.GRU(D, M, 2, bidirectional=True, **options),
    "LSTM": lambda **options: ours.LSTM(D, M, peepholes="full", learn_h0=True, **options),
    "Rated": lambda **options: ours.Rated(D, M, 2, **options),
    "Recurrent": lambda **options: ours.Recurrent(CoupledLSTM, D, M, bidirectional=True, **options),
}


@pytest.fixture(params=LAYERS)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    torch.manual_seed(1)
    return LAYERS[request.param]


def inputs(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(T, B, D, generator=torch.Generator().manual_seed(2)).to(dtype)


def loss(layer: Any, weights: dict[str, Tensor], x: Tensor) -> Tensor:
    found: Tensor = functional_call(layer, weights, (x,))[0].square().sum()
    return found


@pytest.mark.usefixtures("plain_loops")
def test_copies_of_every_kind_compute_the_same(make: Callable[..., Any]) -> None:
    layer, x = make(), inputs()
    saved = io.BytesIO()
    torch.save(layer, saved)
    saved.seek(0)
    other = make()
    other.load_state_dict(layer.state_dict())
    copies = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(saved, weights_only=False), other]
    wanted, _ = layer(x)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    for each in copies:
        assert torch.equal(each(x)[0], wanted)
        each(x)[0].sum().backward()


@pytest.mark.usefixtures("plain_loops")
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch's own, of its forward derivatives
def test_transforms_give_the_gradients_of_autograd(make: Callable[..., Any]) -> None:
    layer, x = make().double(), inputs(torch.float64)
    weights = {name: value.detach() for name, value in layer.named_parameters()}
    found = grad(lambda given: loss(layer, given, x))(weights)
    loss(layer, dict(layer.named_parameters()), x).backward()
    each = vmap(grad(lambda given, x: loss(layer, given, x[:, None])), in_dims=(None, 1))(weights, x)
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)
        torch.testing.assert_close(each[name].sum(0), parameter.grad)
    derivatives: Any = jvp(lambda x: loss(layer, weights, x), (x,), (x,))
    slope = derivatives[1]
    step = 1e-6
    numeric = (loss(layer, weights, x * (1 + step)) - loss(layer, weights, x * (1 - step))) / (2 * step)
    torch.testing.assert_close(slope, numeric, rtol=1e-6, atol=1e-6)


def test_ensembles_run_at_once() -> None:
    several = [ours.GRU(D, M) for _ in range(3)]
    weights, _ = torch.func.stack_module_state(several)
    x = inputs()
    found = vmap(lambda weights: functional_call(several[0], weights, (x,))[0])(weights)
    torch.testing.assert_close(found, torch.stack([layer(x)[0] for layer in several]))


def test_other_backends_refuse_transforms() -> None:
    layer = ours.GRU(D, M, backend="torch")
    with pytest.raises(UsageError, match=r"^GRU: transforms of torch.func need backend='reference' or 'auto'$"):
        grad(lambda x: layer(x)[0].sum())(inputs())


def test_transforms_are_unknown_without_a_private_name_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    functorch: Any = getattr(torch._C, "_functorch")  # noqa: B009
    assert vmap(lambda x: x if layers.in_transform() else -x)(torch.ones(1)) == 1
    assert not layers.in_transform()
    monkeypatch.delattr(functorch, "peek_interpreter_stack")
    assert not layers.in_transform()
    assert vmap(lambda x: x if layers.in_transform() else -x)(torch.ones(1)) == -1


def test_second_derivatives_need_the_reference_backend(make: Callable[..., Any]) -> None:
    layer = make(backend="auto").double()
    x = inputs(torch.float64)[:2, :1].requires_grad_()
    for result in (0, 1) if choose_backend(layer.cell(0)) != "reference" else ():
        found = layer(x)[result]
        value = found[-1] if isinstance(found, tuple) else found
        with pytest.raises(UsageError, match=r"second derivatives \(create_graph\) need backend='reference'$"):
            torch.autograd.grad(value.sum(), x, create_graph=True)
        torch.autograd.grad(layer(x)[0].sum(), x)
    for backend in ["reference", *(["auto"] if choose_backend(layer.cell(0)) == "reference" else [])]:
        layer.backend = backend
        assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))


def test_autocast_and_bfloat16_agree_with_float32(make: Callable[..., Any]) -> None:
    layer, x = make(), inputs()
    wanted, _ = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = layer(x)
        layer(x.bfloat16())[0].sum().backward()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.05)
    assert not torch.equal(found, wanted)
    rounded, _ = layer.bfloat16()(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), wanted, rtol=0.05, atol=0.05)


@contextmanager
def group() -> Iterator[None]:
    dist.init_process_group("gloo", store=DIST.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def test_distributed_data_parallel_reaches_every_parameter(make: Callable[..., Any]) -> None:
    layer, x = make(), inputs()
    with group():
        parallel = nn.parallel.DistributedDataParallel(layer)
        for _ in range(2):  # the second call fails if the first left a parameter out
            layer.zero_grad()
            parallel(x)[0].square().sum().backward()
    found = [parameter.grad for parameter in layer.parameters()]
    layer.zero_grad(set_to_none=True)
    layer(x)[0].square().sum().backward()
    for mine, parameter in zip(found, layer.parameters(), strict=True):
        torch.testing.assert_close(mine, parameter.grad)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda layer: layer(torch.ones(2, 3, 4, 5)), "the input must have 3 dimensions, or 2 without a batch, not 4$"),
        (lambda layer: layer(torch.ones(T, B, 7)), "the input must have at least one step of 4 features, not 5 of 7$"),
        (lambda layer: layer(torch.ones(0, B, D)), "the input must have at least one step of 4 features, not 0 of 4$"),
        (lambda layer: layer(torch.ones(T, B, D).double()),
         "the input and the state must be torch.float32, not torch.float64$"),
        (lambda layer: layer(torch.ones(T, B, D), torch.ones(1, B, M)), r"the first state must be a tuple \(h, c\)$"),
        (lambda layer: layer(torch.ones(T, D), (torch.ones(1, 1, M),) * 2),
         "the first state of this input must have 2 dimensions$"),
        (lambda layer: layer(torch.ones(T, B, D), (torch.ones(1, B, M), torch.ones(1, B, 7))),
         r"c of the first state must have shape \(1, 3, 6\), not \(1, 3, 7\)$"),
        (lambda layer: torch.jit.trace(layer, torch.ones(T, B, D)),
         "torch.jit.trace cannot follow it: use torch.export, or to_torch first$"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_wrong_inputs_are_refused_in_one_line(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^LSTM: {message}"):
        call(ours.LSTM(D, M))


def test_empty_batches_are_those_of_torch() -> None:
    found, last = ours.GRU(D, M)(torch.ones(T, 0, D))
    assert (found.shape, last.shape) == ((T, 0, M), (1, 0, M))
