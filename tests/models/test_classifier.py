"""One label per sequence, from the stack's last valid state; members that share nothing."""

import pytest
import torch
from support.kinds import KINDS

from rnncli.data.features import Features, Lexicon
from rnncli.models.classifier import Classifier, Committee
from rnncli.models.reader import ReaderShape, TokenReader
from rnncli.models.stack import StackShape

pytestmark = pytest.mark.usefixtures("plain_loops")

LINES = [["the", "bells", "toll"], ["never"], ["the", "raven", "the", "raven", "the"]]
ROWS = torch.tensor([0, 1, 2])


def make(kind: str = "lstm:none", *, bidirectional: bool = True) -> tuple[Classifier, Features]:
    lexicon = Lexicon.of(LINES, [], min_count=1, max_length=3)
    reader = TokenReader(lexicon, ReaderShape(("words", "chars"), 5, 4))
    net = Classifier(reader, 2, StackShape(kind, (4, 3), bidirectional=bidirectional), dropout=0.5)
    return net.double(), lexicon.encode(LINES)


@pytest.mark.usefixtures("plain_loops")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_changes_nothing(kind: str, bidirectional: bool) -> None:
    net, features = make(kind, bidirectional=bidirectional)
    net.eval()
    together, states = net(features.tokens(ROWS), None, features.lengths)
    assert states is None
    for row in ROWS:
        alone, _ = net(features.tokens(row[None]), None, features.lengths[row[None]])
        torch.testing.assert_close(together[row], alone[0], rtol=0, atol=1e-12)


def test_label_comes_from_the_last_valid_step() -> None:
    net, features = make(bidirectional=False)
    net.eval()
    logits, _ = net(features.tokens(ROWS), None, features.lengths)
    h, _ = net.stack(net.reader(features.tokens(ROWS)), lengths=features.lengths)
    ends = torch.stack([h[length - 1, row] for row, length in enumerate(features.lengths.tolist())])
    torch.testing.assert_close(logits, net.output(ends), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_concat_pooling_equals_a_loop_over_each_sequence(bidirectional: bool) -> None:
    shape = StackShape("gru", (4, 3), bidirectional=bidirectional)
    plain, features = make(bidirectional=bidirectional)
    net = Classifier(plain.reader, 2, shape, pooling="concat", bag=True).double().eval()
    logits, _ = net(features.tokens(ROWS), None, features.lengths)
    for row in ROWS.tolist():
        x = net.reader(features.tokens(torch.tensor([row])))
        h, _ = net.stack(x)
        last = torch.cat([h[-1, 0, :3], h[0, 0, 3:]])
        pooled = [last, h[:, 0].max(0).values, h[:, 0].mean(0), x[:, 0].sum(0) / len(x) ** 0.5]
        torch.testing.assert_close(logits[row], net.output(torch.cat(pooled)), rtol=0, atol=1e-12)
    same, _ = net(features.tokens(torch.tensor([2])))  # without lengths
    torch.testing.assert_close(same[0], logits[2], rtol=0, atol=1e-12)


def test_members_train_independently() -> None:
    nets = [make()[0] for _ in range(3)]
    committee, features = Committee(nets), make()[1]
    logits, _ = committee(features.tokens(ROWS), None, features.lengths)
    assert logits.shape == (3, 3, 2)
    assert committee.stack is nets[0].stack
    logits[:, 1].sum().backward()
    for net, has_gradient in zip(nets, (False, True, False), strict=True):
        assert all(bool(parameter.grad.any()) == has_gradient for parameter in net.output.parameters())
        assert has_gradient or not any(parameter.grad.any() for parameter in net.parameters())
