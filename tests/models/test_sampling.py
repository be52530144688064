"""The sampling distribution: each option, all together against float64 by hand, and the generator."""

import math
from itertools import product
from typing import Any

import pytest
import torch

from rnncli.models.sampling import Past, Sampling, draw, token_probabilities

START, END, UNKNOWN = 0, 1, 2
LOGITS = torch.tensor([[0.3, 1.0, 2.0, 3.0, 1.5, 0.5, -1.0]])
P = LOGITS.softmax(-1)[0]


def probabilities(**options: Any) -> torch.Tensor:
    return token_probabilities(LOGITS, Sampling(**options), torch.tensor([START, UNKNOWN]))[0]


def test_banned_tokens_are_never_drawn_and_others_keep_their_odds() -> None:
    probs = probabilities()
    assert probs[[START, UNKNOWN]].tolist() == [0, 0]
    torch.testing.assert_close(probs[3:] / probs[END], P[3:] / P[END])
    assert probs.sum().item() == pytest.approx(1)


def test_low_temperature_sharpens() -> None:
    probs = probabilities(temperature=0.5)
    torch.testing.assert_close(probs[3:] / probs[3], (P[3:] / P[3]) ** 2)


def test_top_k_and_top_p_keep_the_likeliest() -> None:
    assert (probabilities(top_k=2) > 0).tolist() == [False, False, False, True, True, False, False]
    kept = P[[3, 4, 1]] / P[[3, 4, 1, 5, 6]].sum()
    assert kept[:2].sum() < 0.9 < kept.sum()
    assert (probabilities(top_p=0.9) > 0).tolist() == [False, True, False, True, True, False, False]
    assert (probabilities(top_p=1e-9) > 0).tolist() == [False, False, False, True, False, False, False]
    for probs in (probabilities(top_k=2), probabilities(top_p=0.9)):
        torch.testing.assert_close(probs[3] / probs[4], P[3] / P[4])
        assert probs.sum().item() == pytest.approx(1)


def test_temperature_zero_takes_the_likeliest() -> None:
    assert probabilities(temperature=0).tolist() == [0, 0, 0, 1, 0, 0, 0]


def test_draws_follow_the_distribution_like_torch() -> None:
    probs = torch.rand(400, 7).softmax(-1).index_fill(1, torch.tensor([2]), 0.0)
    ours, theirs = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    wanted = torch.multinomial(probs, 1, generator=theirs).flatten()
    assert torch.equal(draw(probs, ours), wanted)


def test_min_p_keeps_tokens_near_the_likeliest() -> None:
    probs = probabilities(min_p=0.2)  # e ** -1.5 is above it, e ** -2 below
    assert (probs > 0).tolist() == [False, False, False, True, True, False, False]
    torch.testing.assert_close(probs[3] / probs[4], P[3] / P[4])
    assert (probabilities(min_p=1.0) > 0).tolist() == [False, False, False, True, False, False, False]


def by_hand(logits: list[float], sampling: Sampling, banned: set[int], past: list[int]) -> list[float]:
    """Compute the distribution in Python floats, step by step as documented."""
    scores = {token: score for token, score in enumerate(logits) if token not in banned}
    for token in set(past[-sampling["repetition_window"] :]) & scores.keys():
        score, penalty = scores[token], sampling["repetition_penalty"]
        scores[token] = score / penalty if score > 0 else score * penalty
    n = sampling["no_repeat"]
    if n:
        grams = {tuple(past[place : place + n]) for place in range(len(past) - n + 1)}
        allowed = {t: score for t, score in scores.items() if (*past[len(past) - n + 1 :], t) not in grams}
        scores = allowed or scores
    top = max(scores.values())
    if sampling["temperature"] == 0:
        return [float(token == min(t for t, s in scores.items() if s == top)) for token in range(len(logits))]
    probs = {token: math.exp((score - top) / sampling["temperature"]) for token, score in scores.items()}
    ranked = sorted(probs, key=lambda token: -probs[token])
    kept = ranked[: sampling["top_k"] or None]
    total = sum(probs[token] for token in kept)
    if sampling["top_p"]:
        reached, nucleus = 0.0, []
        for token in kept:
            if reached >= sampling["top_p"]:
                break
            nucleus.append(token)
            reached += probs[token] / total
        kept = nucleus
    kept = [token for token in kept if probs[token] >= sampling["min_p"] * probs[kept[0]]]
    total = sum(probs[token] for token in kept)
    return [probs[token] / total if token in kept else 0.0 for token in range(len(logits))]


CUTS = product((0.0, 0.7, 1.0, 2.5), (0, 1, 4), (0.0, 0.3, 0.9), (0.0, 0.05, 0.6), (1.0, 1.4), (0, 1, 2, 3))


def test_all_options_together_equal_the_distribution_by_hand() -> None:
    """Two streams with separate pasts; every row sums to 1, so that none is empty."""
    generator = torch.Generator().manual_seed(5)
    banned = (START, UNKNOWN)
    for temperature, top_k, top_p, min_p, penalty, no_repeat in CUTS:
        sampling = Sampling(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=penalty,
            repetition_window=5,
            no_repeat=no_repeat,
        )
        logits = torch.randn(2, 8, generator=generator, dtype=torch.float64) * 2
        pasts = torch.randint(8, (2, 25), generator=generator).tolist()
        found = token_probabilities(logits, sampling, torch.tensor(banned), [Past(no_repeat, past) for past in pasts])
        for row, past, scores in zip(found, pasts, logits, strict=True):
            wanted = by_hand(scores.tolist(), sampling, set(banned), past)
            assert row.tolist() == pytest.approx(wanted, abs=1e-12), sampling
            assert float(row.sum()) == pytest.approx(1)


def test_repeats_are_allowed_where_nothing_else_is_left() -> None:
    past = Past(1, range(7))
    probs = token_probabilities(LOGITS, Sampling(no_repeat=1), torch.tensor([START, UNKNOWN]), [past])[0]
    torch.testing.assert_close(probs, probabilities())


def test_grown_past_is_a_copy() -> None:
    past = Past(2, [1, 2, 1])
    grown = past.grown(3)
    assert (past.tokens, past.repeats) == ([1, 2, 1], {2})
    assert (grown.tokens, grown.repeats) == ([1, 2, 1, 3], set())
    grown.add(1)
    assert grown.repeats == {2, 3}
    assert past.repeats == {2}
    assert Past(3, [1]).repeats == set()
    assert Past(0, [1, 1]).repeats == set()
