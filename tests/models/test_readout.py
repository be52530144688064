"""Readouts: the loss of each word matches its probability, for every kind of softmax."""

from typing import Any

import pytest
import torch

from rnncli.data.batching import IGNORED
from rnncli.errors import UsageError
from rnncli.models import readout as module
from rnncli.models.readout import AdaptiveSoftmax, FullSoftmax, SampledSoftmax, zipf_probs

N, M, V = 23, 16, 50


def readout(kind: str) -> Any:
    torch.manual_seed(4)
    if kind == "adaptive":
        made = AdaptiveSoftmax(M, V).double()
        torch.nn.init.normal_(made.head.bias)
        return made
    return FullSoftmax(*(torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((V, M), (V,))))


@pytest.mark.parametrize("kind", ["full", "adaptive"])
def test_loss_and_score_match_the_logits(kind: str) -> None:
    head = readout(kind)
    h, targets = torch.randn(N, M, dtype=torch.float64), torch.randint(V, (N,))
    targets[::4] = IGNORED
    probs = head.logits(h).log_softmax(-1).detach()
    targets[1] = probs[1].argmax()
    targeted = targets != IGNORED
    wanted = -probs[targeted].gather(1, targets[targeted, None]).sum()
    loss, hits = head.score(h, targets)
    torch.testing.assert_close(head.loss(h, targets).detach(), wanted)
    torch.testing.assert_close(loss, wanted)
    assert int(hits) == int((probs.argmax(-1) == targets).sum()) >= 1
    assert torch.equal(head.logits(h.view(1, N, M))[0], head.logits(h))


@pytest.mark.parametrize("kind", ["full", "adaptive"])
def test_no_targets_give_no_gradient(kind: str) -> None:
    h = torch.randn(2, M, dtype=torch.float64, requires_grad=True)
    loss = readout(kind).loss(h, torch.full((2,), IGNORED))
    loss.backward()
    assert (loss.item(), h.grad.abs().sum().item()) == (0, 0)


@pytest.mark.parametrize("kind", ["full", "adaptive"])
def test_init_bias_sets_the_probabilities(kind: str) -> None:
    head = readout(kind)
    probs = torch.arange(V, 0, -1, dtype=torch.float64) / (V * (V + 1) / 2)
    head.init_bias(probs)
    found = head.logits(torch.zeros(1, M, dtype=torch.float64))[0].softmax(-1)
    torch.testing.assert_close(found[:5], probs[:5])
    assert found.sum().item() == pytest.approx(1)
    torch.testing.assert_close(found[5:20].sum(), probs[5:20].sum())  # the words of a class share its probability


def test_adaptive_softmax_is_smaller_and_needs_enough_words() -> None:
    assert sum(each.numel() for each in AdaptiveSoftmax(64, 1000).parameters()) < 1000 * 64 / 3
    with pytest.raises(UsageError, match="needs 10 words or more, not 9"):
        AdaptiveSoftmax(M, 9)
    with pytest.raises(UsageError, match="needs 16 units or more, not 15"):
        AdaptiveSoftmax(15, V)
    with pytest.raises(ValueError, match="supports no label smoothing"):
        AdaptiveSoftmax(M, V).loss(torch.zeros(1, M), torch.zeros(1, dtype=torch.long), 0.1)


def test_sample_of_all_words_equals_the_full_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    words, h = 30, torch.randn(8, 6, dtype=torch.float64)
    weight, bias = torch.randn(words, 6, dtype=torch.float64), torch.randn(words, dtype=torch.float64)
    targets = torch.tensor([3, 29, IGNORED, 0, 7, 7, 12, IGNORED])
    noise_probs = zipf_probs(words).double()
    assert noise_probs.sum() == pytest.approx(1)
    sampled, full = SampledSoftmax(weight, bias, noise_probs), FullSoftmax(weight, bias)
    torch.testing.assert_close(sampled.loss(h, targets), full.loss(h, targets), rtol=0, atol=1e-6)  # 2,000 of 30 drawn
    torch.testing.assert_close(sampled.score(h, targets), full.score(h, targets))
    with pytest.raises(ValueError, match="supports no label smoothing"):
        sampled.loss(h, targets, 0.1)


def test_sampled_softmax_is_unbiased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NOISE_WORDS", 20)
    torch.manual_seed(0)
    words = 60
    h, weight, bias = torch.randn(1, 6), torch.randn(words, 6), torch.zeros(words)
    targets = torch.tensor([5])
    sampled, full = SampledSoftmax(weight, bias, zipf_probs(words)), FullSoftmax(weight, bias)
    # The loss is -log p of the target among the drawn: exp(loss) estimates sum exp(s) / exp(s of the target), up to
    # the target's own correction, which is the same in all draws.
    q = -torch.expm1(20 * torch.log1p(-sampled.noise_probs[5]))
    estimates = torch.stack([sampled.loss(h, targets).exp() for _ in range(4000)]) / q
    share = (-full.loss(h, targets)).exp()
    others = 1 / share - 1
    assert float(estimates.mean() - 1 / q) == pytest.approx(float(others), rel=0.05)
