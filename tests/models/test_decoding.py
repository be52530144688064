"""Drawing words: what each option does to the distribution, and that END and UNKNOWN are treated as promised."""

from typing import Any

import pytest
import torch

from rnncli.cells.elman import ElmanState
from rnncli.errors import RnnError
from rnncli.models.decoding import MAX_LENGTH, draw_lines
from rnncli.models.sampling import Sampling, token_probabilities
from rnncli.models.sampling import draw as dice

START, END, UNKNOWN = 0, 1, 2
LOGITS = torch.tensor([[0.3, 1.0, 2.0, 3.0, 1.5, 0.5, -1.0]])
P = LOGITS.softmax(-1)[0]


def probabilities(**options: Any) -> torch.Tensor:
    return token_probabilities(LOGITS, Sampling(**options), torch.tensor([START, UNKNOWN]))[0]


def test_barred_tokens_are_never_drawn_and_the_others_keep_their_odds() -> None:
    shares = probabilities()
    assert shares[[START, UNKNOWN]].tolist() == [0, 0]
    torch.testing.assert_close(shares[3:] / shares[END], P[3:] / P[END])
    assert shares.sum().item() == pytest.approx(1)


def test_temperature_sharpens() -> None:
    shares = probabilities(temperature=0.5)
    torch.testing.assert_close(shares[3:] / shares[3], (P[3:] / P[3]) ** 2)


def test_top_k_and_top_p_leave_the_likeliest() -> None:
    assert (probabilities(top_k=2) > 0).tolist() == [False, False, False, True, True, False, False]
    kept = P[[3, 4, 1]] / P[[3, 4, 1, 5, 6]].sum()
    assert kept[:2].sum() < 0.9 < kept.sum()
    assert (probabilities(top_p=0.9) > 0).tolist() == [False, True, False, True, True, False, False]
    assert (probabilities(top_p=1e-9) > 0).tolist() == [False, False, False, True, False, False, False]
    for shares in (probabilities(top_k=2), probabilities(top_p=0.9)):
        torch.testing.assert_close(shares[3] / shares[4], P[3] / P[4])
        assert shares.sum().item() == pytest.approx(1)


def test_temperature_zero_takes_the_likeliest() -> None:
    assert probabilities(temperature=0).tolist() == [0, 0, 0, 1, 0, 0, 0]


class Chain(torch.nn.Module):
    """A Markov chain that passes for a language model; its state counts the steps."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(table.log())

    def initial_states(self, batch: int) -> Any:
        return [ElmanState(torch.zeros(batch, 1))]

    def stepper(self, label: int | None = None) -> Any:
        return lambda tokens, states: (self.table[tokens], [ElmanState(states[0].h + 1)])


def chain() -> Chain:
    table = torch.full((6, 6), 0.02)
    table[0, 3], table[3, 4], table[4, 3], table[4, 1], table[5, 2] = 0.9, 0.9, 0.5, 0.4, 0.9
    return Chain(table / table.sum(1, keepdim=True))


def draw(count: int, seed: int = 0, **options: Any) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    prime = options.pop("prime", ())
    return draw_lines(
        chain(),
        count,
        Sampling(**options),
        start=START,
        end=END,
        barred=(START, UNKNOWN),
        generator=generator,
        prime=prime,
    )


def test_lines_follow_the_model_s_distribution() -> None:
    table = chain().table.exp().detach()
    lines = draw(20_000)
    pairs = torch.zeros(6, 6)
    for line in lines:
        for before, after in zip([START, *line], [*line, END], strict=True):
            pairs[before, after] += 1
    for before in (START, 3, 4):
        barred = torch.tensor([START, UNKNOWN, END] if before == START else [START, UNKNOWN])
        wanted = token_probabilities(table[before].log()[None], Sampling(), barred)[0]
        torch.testing.assert_close(pairs[before] / pairs[before].sum(), wanted, rtol=0, atol=0.01)
    assert not pairs[:, [START, UNKNOWN]].any()


def test_the_dice_are_those_of_torch() -> None:
    shares = torch.rand(400, 7).softmax(-1).index_fill(1, torch.tensor([2]), 0.0)
    ours, theirs = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    wanted = torch.multinomial(shares, 1, generator=theirs).flatten()
    assert torch.equal(dice(shares, ours), wanted)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(RnnError, match="not numbers"):
        draw_lines(
            Chain(torch.full((6, 6), torch.nan)),
            1,
            Sampling(),
            start=START,
            end=END,
            barred=(START, UNKNOWN),
            generator=torch.Generator(),
        )


def test_the_same_seed_gives_the_same_lines() -> None:
    assert draw(5, seed=3) == draw(5, seed=3)
    assert draw(5, seed=3) != draw(5, seed=4)
    assert draw(0) == []


def test_the_prime_is_consumed_and_kept() -> None:
    lines = draw(50, prime=[5, 4])
    assert all(line[:2] == [5, 4] for line in lines)
    following = [line[2] if len(line) > 2 else END for line in lines]
    assert following.count(3) > following.count(4) + following.count(5)  # what 4 is followed by


@pytest.mark.parametrize("count", [1, 5])
def test_a_line_without_end_is_cut(count: int) -> None:
    table = torch.zeros(6, 6) + 1e-12
    table[:, 3] = 1.0
    threads = torch.get_num_threads()
    for options, length in (({}, MAX_LENGTH), ({"longest": 7}, 7)):
        lines = draw_lines(
            Chain(table),
            count,
            Sampling(),
            start=START,
            end=END,
            barred=(START, UNKNOWN),
            generator=torch.Generator().manual_seed(0),
            **options,
        )
        assert lines == [[3] * length] * count
    assert torch.get_num_threads() == threads
