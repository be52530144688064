"""Sampled streams and lines: END, UNKNOWN, primes of any length; beam search against brute force."""

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from support.kinds import KINDS

from rnncli.cells.base import Hidden
from rnncli.errors import RnnError
from rnncli.models import decoding
from rnncli.models.decoding import Ending, beam_search, draw_streams, read, restarting
from rnncli.models.language_model import LanguageModel
from rnncli.models.sampling import Sampling, token_probabilities
from rnncli.models.stack import StackShape

START, END, UNKNOWN = 0, 1, 2


class Chain(torch.nn.Module):
    """A Markov chain with a language model's interface; its state counts the steps."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(table.log())

    def initial_states(self, batch: int) -> Any:
        return [Hidden(torch.zeros(batch, 1))]

    def stepper(self, label: int | None = None) -> Any:
        return lambda tokens, states: (self.table[tokens], [Hidden(states[0].h + 1)])


def chain() -> Chain:
    table = torch.full((6, 6), 0.02)
    table[0, 3], table[3, 4], table[4, 3], table[4, 1], table[5, 2] = 0.9, 0.9, 0.5, 0.4, 0.9
    return Chain(table / table.sum(1, keepdim=True))


def ending(length: int, *last: int) -> Ending:
    """Ends a stream with one of the `last` tokens, or with the token of that number."""
    left = iter(range(length - 1, -1, -1))
    return lambda token: next(left) == 0 or token in last


def draw(
    count: int, seed: int = 0, prime: Sequence[int] = (), net: Chain | None = None, length: int = 200, **options: Any
) -> list[list[int]]:
    """Draw lines from START to END."""
    steps = draw_streams(
        read(net or chain(), (START, *prime)),
        count,
        Sampling(**options),
        banned=(START, UNKNOWN),
        banned_first=() if prime else (END,),
        generator=torch.Generator().manual_seed(seed),
        ending=lambda: ending(length, END),
        past=prime,
    )
    lines = [list(prime) for _ in range(count)]
    for number, token in (drawn for step in steps for drawn in step):
        lines[number] += [token] * (token != END)
    return lines


def test_lines_follow_the_models_distribution() -> None:
    table = chain().table.exp().detach()
    lines = draw(20_000)
    pairs = torch.zeros(6, 6)
    for line in lines:
        for before, after in zip([START, *line], [*line, END], strict=True):
            pairs[before, after] += 1
    for before in (START, 3, 4):
        banned = torch.tensor([START, UNKNOWN, END] if before == START else [START, UNKNOWN])
        wanted = token_probabilities(table[before].log()[None], Sampling(), banned)[0]
        torch.testing.assert_close(pairs[before] / pairs[before].sum(), wanted, rtol=0, atol=0.01)
    assert not pairs[:, [START, UNKNOWN]].any()


def test_nan_scores_are_refused() -> None:
    net = Chain(torch.full((6, 6), torch.nan))
    with pytest.raises(RnnError, match="not numbers"):
        draw(1, net=net)
    with pytest.raises(RnnError, match="not numbers"):
        beam_search(net.stepper(), net.initial_states(1), start=START, end=END, width=2, max_length=[3])


def test_same_seed_gives_the_same_lines() -> None:
    assert draw(5, seed=3) == draw(5, seed=3)
    assert draw(5, seed=3) != draw(5, seed=4)
    assert draw(0) == []


def test_prime_is_read_and_kept() -> None:
    lines = draw(50, prime=[5, 4])
    assert all(line[:2] == [5, 4] for line in lines)
    following = [line[2] if len(line) > 2 else END for line in lines]
    assert following.count(3) > following.count(4) + following.count(5)  # 4's most frequent successor


@pytest.mark.parametrize("count", [1, 5])
def test_line_without_end_is_cut(count: int) -> None:
    table = torch.zeros(6, 6) + 1e-12
    table[:, 3] = 1.0
    threads = torch.get_num_threads()
    assert draw(count, net=Chain(table), length=7) == [[3] * 7] * count
    assert torch.get_num_threads() == threads


def tiny_model(cell: str = "gru", V: int = 5, labels: int = 0) -> Any:
    torch.manual_seed(1)
    model: Any = LanguageModel(V, 4, StackShape(cell, (6, 3)), labels=labels).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.8)
    return model


@pytest.mark.usefixtures("plain_loops")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", [None, 1])
def test_prime_is_read_by_the_scan_as_by_single_steps(
    kind: str, label: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokens = tiny_model(kind, labels=2), [3, 4, 0, 2, 2, 1, 3]
    stepped = read(model, tokens, label)
    monkeypatch.setattr(decoding, "WINDOW", 3)
    scanned = read(model, tokens, label)
    torch.testing.assert_close(scanned.logits, stepped.logits, rtol=0, atol=1e-12)
    for state, wanted in zip(scanned.states, stepped.states, strict=True):
        for ours, theirs in zip(state, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert not torch.allclose(stepped.logits, read(model, tokens, 0).logits)


def test_streams_end_independently_and_run_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_STREAMS", 4)
    texts: dict[int, list[int]] = {number: [] for number in range(10)}
    steps = draw_streams(
        read(chain(), [START]),
        10,
        Sampling(),
        banned=(START, UNKNOWN),
        generator=torch.Generator().manual_seed(0),
        ending=lambda: ending(6, 4),
    )
    for step in steps:
        assert 0 < len(step) <= 4
        for number, token in step:
            texts[number].append(token)
    for text in texts.values():
        assert 4 not in text[:-1]
        assert text[-1] == 4 or len(text) == 6


def test_streams_keep_their_own_states_when_others_end(plain_loops: None) -> None:
    """Each token's probability is that of the model after the stream's own tokens."""
    model, choices = tiny_model(), list[decoding.Choice]()
    lengths = iter((9, 2, 7, 4))
    steps = draw_streams(
        read(model, (START,)),
        4,
        Sampling(),
        banned=(),
        generator=torch.Generator().manual_seed(3),
        ending=lambda: ending(next(lengths)),
        listen=choices.append,
    )
    assert sum(len(step) for step in steps) == 9 + 2 + 7 + 4
    for stream in range(4):
        drawn = [each for each in choices if each.stream == stream]
        text = torch.tensor([START, *(each.token for each in drawn)])
        probs = model(text[:-1, None])[0][:, 0].softmax(-1)
        expected = probs.gather(1, text[1:, None])[:, 0].tolist()
        assert [each.probability for each in drawn] == pytest.approx(expected)


def test_repetition_guard_uses_each_streams_own_past() -> None:
    texts: list[list[int]] = [[] for _ in range(30)]
    prime = [3, 4, 3, 5]
    steps = draw_streams(
        read(chain(), prime),
        30,
        Sampling(no_repeat=2),
        banned=(START, END, UNKNOWN),
        generator=torch.Generator().manual_seed(0),
        ending=lambda: ending(5),
        past=prime,
    )
    for step in steps:
        for number, token in step:
            texts[number].append(token)
    for text in texts:
        pairs = list(pairwise([*prime, *text]))
        for place in range(len(prime) - 1, len(pairs)):
            if pairs[place] in pairs[:place]:  # only where nothing else was left
                assert {(pairs[place][0], token) for token in (3, 4, 5)} <= set(pairs[:place])
    assert len({tuple(text) for text in texts}) > 1


def test_sentence_model_restarts_after_end() -> None:
    model = tiny_model()
    step, first = model.stepper(), model.initial_states(1)
    tokens = [START, 3, END, 4, 2]
    states, found = model.initial_states(2), []
    go = restarting(step, first, START, END)
    with torch.no_grad():
        for token in tokens:  # the second stream ends elsewhere
            logits, states = go(torch.tensor([token, 3]), states)
            found.append(logits)
        whole, _ = model(torch.tensor([[START, 3], [3, 3]]))
        fresh, _ = model(torch.tensor([[START], [4], [2]]))
        other, _ = model(torch.full((5, 1), 3))
    torch.testing.assert_close(found[1][0], whole[1, 0])
    assert found[2][0, END] == -torch.inf
    torch.testing.assert_close(found[2][0, 2:], fresh[0, 0, 2:])
    torch.testing.assert_close(torch.stack(found[3:])[:, 0], fresh[1:, 0])
    torch.testing.assert_close(torch.stack(found)[:, 1], other[:, 0])


def every_sequence(model: Any, max_length: int, banned: tuple[int, ...], power: float) -> list[tuple[float, list[int]]]:
    """Return all sequences up to END or the maximum length, each scored by the scan, best first."""
    found = []
    V = len(model.embedding.weight)
    for length in range(max_length + 1):
        for tokens in product([t for t in range(V) if t not in (END, *banned)], repeat=length):
            whole = [*tokens, END] if length < max_length else list(tokens)
            with torch.no_grad():
                probs = model(torch.tensor([START, *whole[:-1]])[:, None])[0][:, 0].log_softmax(-1)
            total = sum(float(probs[place, token]) for place, token in enumerate(whole))
            found.append((total / len(whole) ** power, list(tokens)))
    return sorted(found, key=lambda each: -each[0])


@pytest.mark.parametrize("power", [0.0, 0.7, 1.0])
def test_exhaustive_beam_finds_the_best_sequence(power: float) -> None:
    model = tiny_model()
    wanted = every_sequence(model, 4, (START, UNKNOWN), power)
    with torch.no_grad():
        (found,) = beam_search(
            model.stepper(),
            model.initial_states(1),
            start=START,
            end=END,
            width=1000,
            max_length=[4],
            length_power=power,
            banned=(START, UNKNOWN),
        )
    assert len(found) == len(wanted) == 1 + 2 + 4 + 8 + 16
    assert [each.tokens for each in found] == [tokens for _, tokens in wanted]
    assert [each.score for each in found] == pytest.approx([score for score, _ in wanted], abs=1e-9)
    assert all(each.ended == (len(each.tokens) < 4) for each in found)


def test_no_sequence_begins_with_a_token_banned_first() -> None:
    """All others are found as before: END is banned only at the first step."""
    model, options = tiny_model(), {"start": START, "end": END, "width": 1000, "max_length": [4]}
    with torch.no_grad():
        (free,), (guarded,) = (
            beam_search(model.stepper(), model.initial_states(1), **options, banned_first=first)
            for first in ((), (END, 3))
        )
    assert [each.tokens for each in guarded] == [e.tokens for e in free if e.tokens and e.tokens[0] != 3]
    assert any(END not in each.tokens and each.ended for each in guarded)


@pytest.mark.parametrize(("width", "end_bias"), [(1, 0.0), (2, 0.0), (3, 0.0), (3, 3.0), (4, 2.0)])
def test_narrow_beam_keeps_the_likeliest_at_every_step(width: int, end_bias: float) -> None:
    """Against a loop over whole sequences, each scored from its start; an ended one gives its place to no other."""
    model, places, open_, done = tiny_model(), width, [(0.0, [START])], []
    with torch.no_grad():
        model.bias[END] += end_bias
    for _ in range(6):
        grown = []
        for total, tokens in open_:
            probs = model(torch.tensor(tokens)[:, None])[0][-1, 0].log_softmax(-1).tolist()
            grown += [(total + share, [*tokens, token]) for token, share in enumerate(probs)]
        best = sorted(grown, reverse=True)[:places]
        done += [(total / (len(tokens) - 1), tokens[1:-1]) for total, tokens in best if tokens[-1] == END]
        open_ = [each for each in best if each[1][-1] != END]
        places = width - len(done)
    done += [(total / (len(tokens) - 1), tokens[1:]) for total, tokens in open_]
    (found,) = beam_search(model.stepper(), model.initial_states(1), start=START, end=END, width=width, max_length=[6])
    assert [(pytest.approx(each.score), each.tokens) for each in found] == sorted(done, reverse=True)
    assert any(each.ended for each in found) or not end_bias


def test_beam_without_end_reaches_max_length_without_banned_repeats() -> None:
    model = tiny_model()
    (found,) = beam_search(
        model.stepper(),
        model.initial_states(1),
        start=3,
        end=None,
        width=4,
        max_length=[9],
        sampling=Sampling(no_repeat=2),
        past=[3],
    )
    assert len(found) == 4
    for each in found:
        text = [3, *each.tokens]
        assert len(text) == 10
        assert not each.ended
        pairs = list(pairwise(text))
        assert len(set(pairs)) == len(pairs)
