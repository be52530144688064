"""docs/from-scratch.md: its blocks are docs/from_scratch.py, print what it says, and compute what the cells do."""

import ast
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.docs import DOCS, blocks_of, run_page
from torch import Tensor
from torch.nn import functional as F

from rnncli.cells import make_cell
from rnncli.kernels.scan import scan

PAGE = "from-scratch.md"
T, V, M = 9, 6, 5
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(scope="module")
def page() -> tuple[dict[str, Any], list[str]]:
    return run_page(PAGE)


@pytest.fixture
def program(page: tuple[dict[str, Any], list[str]]) -> SimpleNamespace:
    return SimpleNamespace(**page[0])


def test_blocks_of_the_page_are_the_program() -> None:
    def lines(code: str) -> list[str]:
        return [line for line in code.splitlines() if line]

    first, *rest = lines((DOCS / "from_scratch.py").read_text("utf-8"))
    assert PAGE in first
    assert rest == lines("".join(block.code for block in blocks_of(PAGE)))


def test_blocks_print_what_the_page_shows(page: tuple[dict[str, Any], list[str]]) -> None:
    assert [block.output for block in blocks_of(PAGE)] == page[1]
    assert sum(map(bool, page[1])) == 5


def test_the_net_takes_about_60_lines() -> None:
    tree = ast.parse((DOCS / "from_scratch.py").read_text("utf-8"))
    functions = [each for each in tree.body if isinstance(each, ast.FunctionDef)]
    net = functions[: [each.name for each in functions].index("sigmoid")]
    code = [line for each in net for line in ast.unparse(each).splitlines() if line and '"""' not in line]
    assert 55 <= len(code) <= 65


def parameters(net: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.tensor(weight, requires_grad=True) for name, weight in net.items()}


def product_loss(cell: str, net: dict[str, Tensor], inputs: np.ndarray, targets: np.ndarray, h: Any) -> Any:
    """The mean loss of our own cell with these weights and a linear output, its last state, and its log-probs."""
    states, last = unrolled(cell, net, F.one_hot(torch.tensor(inputs), len(net["Wx"])).double(), (h,))
    log_probs = F.log_softmax(states @ net["Wo"] + net["bo"], dim=-1)
    return F.nll_loss(log_probs, torch.tensor(targets)), last[0], log_probs


def unrolled(cell: str, net: dict[str, Tensor], x: Tensor, first: tuple[Any, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Every h of our own cell with these weights over x (T, D), (T, M), and the last state."""
    own = make_cell(cell, x.shape[1], len(net["Wh"])).double()
    weights = {"weight_x": net["Wx"].T, "weight_h": net["Wh"].T, "bias": net["b"]}
    weights |= {f"weight_{name[1:]}": weight.T for name, weight in net.items() if name in ("Wc", "Wco")}
    for name, weight in weights.items():
        assert getattr(own, name).shape == weight.shape
        delattr(own, name)
        setattr(own, name, weight)
    state = own.State(*(torch.as_tensor(each)[None] for each in first))
    h, last = scan(own, x[:, None], state, backend="reference")
    return h[:, 0], tuple(each[0] for each in last)


def test_forward_and_backward_equal_the_elman_cell(program: SimpleNamespace) -> None:
    net = program.new_net(V, M)
    net["b"], net["bo"] = program.generator.normal(size=M), program.generator.normal(size=V)
    ids, h0 = program.generator.integers(V, size=T + 1), program.generator.normal(size=M)
    states, log_probs = program.forward(net, ids[:-1], h0)
    grads = program.backward(net, ids[:-1], ids[1:], states, log_probs)

    ours = parameters(net)
    loss, last, _ = product_loss("elman", ours, ids[:-1], ids[1:], h0)
    loss.backward()
    np.testing.assert_allclose(program.loss_of(log_probs, ids[1:]), loss.item(), **CLOSE)
    np.testing.assert_allclose(states[-1], last.detach(), **CLOSE)
    for name, parameter in ours.items():
        np.testing.assert_allclose(grads[name], parameter.grad, err_msg=name, **CLOSE)


def test_training_equals_the_elman_cell_with_a_detached_state(program: SimpleNamespace) -> None:
    net = program.new_net(len(program.tokens), M)
    ours = parameters(net)
    reported, limit, scaled = program.train(net, window=20, epochs=2, rate=0.02, limit=0.5), 0.5, 0
    for _ in range(2):
        h, total = torch.zeros(M, dtype=torch.float64), 0.0
        for begin in range(0, len(program.inputs), 20):
            x, y = (each[begin : begin + 20] for each in (program.inputs, program.targets))
            loss, h, _ = product_loss("elman", ours, x, y, h.detach())
            grads = torch.autograd.grad(loss, [*ours.values()])
            norm = torch.cat([grad.flatten() for grad in grads]).norm()
            scaled += bool(norm > limit)
            with torch.no_grad():
                for weight, grad in zip(ours.values(), grads, strict=True):
                    weight -= 0.02 * len(x) * grad * min(1.0, limit / norm)
            total += loss.item() * len(x)
    assert 0 < scaled < 14  # some of the gradients are clipped, not all
    np.testing.assert_allclose(reported, total / len(program.inputs), **CLOSE)
    for name, weight in ours.items():
        np.testing.assert_allclose(net[name], weight.detach(), err_msg=name, **CLOSE)


def test_writing_draws_from_the_probabilities_of_the_elman_cell(page: tuple[dict[str, Any], list[str]]) -> None:
    names = page[0]
    tokens, probs = names["tokens"], list[np.ndarray]()
    net = names["new_net"](len(tokens), M)

    def choice(_: list[str], p: np.ndarray) -> str:
        probs.append(p)
        return tokens[len(probs) % len(tokens)]

    kept, names["generator"] = names["generator"], SimpleNamespace(choice=choice)
    text = names["write"](net, "the ", 6, temperature=0.7)
    names["generator"] = kept
    ids = np.array([tokens.index(sign) for sign in text])
    _, _, log_probs = product_loss("elman", parameters(net), ids[:-1], ids[1:], np.zeros(M))
    assert text == "the " + "".join(tokens[1:7])
    np.testing.assert_allclose(probs, torch.softmax(log_probs[3:] / 0.7, -1).detach(), **CLOSE)


@pytest.mark.parametrize(
    ("name", "cell", "blocks", "fields"),
    [("gru", "gru:reset-before", 3, 1), ("lstm", "lstm:none", 4, 2), ("peephole", "lstm:full", 4, 2)],
)
def test_steps_forward_and_backward_equal_the_cells(
    program: SimpleNamespace, name: str, cell: str, blocks: int, fields: int
) -> None:
    step: Callable[..., Any] = getattr(program, f"{name}_step")
    step_back: Callable[..., Any] = getattr(program, f"{name}_back")
    normal = program.generator.normal
    net = {"Wx": normal(size=(V, blocks * M)), "Wh": normal(size=(M, blocks * M)), "b": normal(size=blocks * M)}
    if name == "peephole":
        net |= {"Wc": normal(size=(M, 2 * M)), "Wco": normal(size=(M, M))}
    x, first, weights = normal(size=(T, V)), normal(size=(fields, M)), normal(size=(T, M))

    state, kept, loss = tuple(first), [], 0.0
    for t in range(T):
        *state, memo = step(net, x[t], *state)
        kept.append(memo)
        loss += state[0] @ weights[t]
    d_state, d_x = [np.zeros(M)] * fields, np.zeros_like(x)
    totals = {name: np.zeros_like(weight) for name, weight in net.items()}
    for t in reversed(range(T)):
        d_x[t], *d_state, grads = step_back(net, kept[t], d_state[0] + weights[t], *d_state[1:])
        for each, grad in grads.items():
            totals[each] += grad

    ours = parameters({**net, "x": x, "first": first})
    h, last = unrolled(cell, ours, ours["x"], tuple(ours["first"]))
    expected = (h * torch.tensor(weights)).sum()
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), **CLOSE)
    np.testing.assert_allclose(np.array(state), torch.stack(last).detach(), **CLOSE)
    for each, grad in {**totals, "x": d_x, "first": np.array(d_state)}.items():
        np.testing.assert_allclose(grad, ours[each].grad, err_msg=each, **CLOSE)
