"""The layers of nets: their own learning rates, and gradual unfreezing."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from support.experiments import BATCHES, make_trainer, train
from torch import nn

from rnncli.data.features import Lexicon
from rnncli.errors import UsageError
from rnncli.models.classifier import Classifier, Committee
from rnncli.models.feedforward import FeedForward
from rnncli.models.language_model import LanguageModel
from rnncli.models.reader import ReaderShape, TokenReader
from rnncli.models.stack import StackShape
from rnncli.models.tagger import Tagger
from rnncli.models.translator import Translator
from rnncli.training.layers import layers_of
from rnncli.training.optimizers import OPTIMIZERS, make_optimizer
from rnncli.training.settings import TrainingSettings

pytestmark = pytest.mark.usefixtures("plain_loops")

SHAPE = StackShape("gru", (4, 3))


def classifier() -> Classifier:
    reader = TokenReader(Lexicon.of([["a", "b"]], [], min_count=1, max_length=2), ReaderShape(("words", "chars"), 5, 4))
    return Classifier(reader, 2, StackShape("gru", (4, 3), bidirectional=True))


def language_model(**options: Any) -> LanguageModel:
    return LanguageModel(9, 6, StackShape("lstm", (4, 3), block="residual"), labels=2, **options)


NETS: dict[str, tuple[Callable[[], nn.Module], list[list[str]]]] = {
    "tagger": (
        lambda: Tagger(5, 2, SHAPE),
        [[], ["stack.cells.0"], ["stack.cells.1"], ["output"]],
    ),
    "classifier": (
        classifier,
        [["reader"], ["stack.cells.0", "stack.cells.1"], ["stack.cells.2", "stack.cells.3"], ["output"]],
    ),
    "committee": (
        lambda: Committee([classifier(), classifier()]),
        [
            ["members.0.reader", "members.1.reader"],
            [f"members.{member}.stack.cells.{cell}" for member in (0, 1) for cell in (0, 1)],
            [f"members.{member}.stack.cells.{cell}" for member in (0, 1) for cell in (2, 3)],
            ["members.0.output", "members.1.output"],
        ],
    ),
    "language model": (
        language_model,
        [
            ["embedding", "voices"],
            ["stack.cells.0", "stack.blocks.0"],
            ["stack.cells.1", "stack.blocks.1"],
            ["output", "bias"],
        ],
    ),
    "tied": (
        lambda: language_model(tied=True),
        [
            ["embedding", "voices"],
            ["stack.cells.0", "stack.blocks.0"],
            ["stack.cells.1", "stack.blocks.1"],
            ["projection", "bias"],
        ],
    ),
    "translator": (
        lambda: Translator(9, 6, SHAPE),
        [
            ["embedding"],
            ["encoder.cells.0", "encoder.cells.1"],
            ["encoder.cells.2", "encoder.cells.3"],
            ["starts", "decoder.cells.0"],
            ["decoder.cells.1"],
            ["joint", "attention", "weight", "bias"],
        ],
    ),
    "feed-forward": (lambda: FeedForward(3, 2, (5, 4)), [["layers.0"], ["layers.2"], ["layers.4"]]),
}


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_is_in_the_layer_that_its_name_says(name: str) -> None:
    build, wanted = NETS[name]
    net = build()
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    found = [sorted(names[id(each)] for each in layer) for layer in layers_of(net)]
    trainable = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    assert found == [
        sorted(each for each in trainable if any(each == part or each.startswith(f"{part}.") for part in parts))
        for parts in wanted
    ]
    assert sorted(chain.from_iterable(found)) == sorted(trainable)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_layer_has_the_rate_of_the_one_above_over_the_decay(optimizer: str) -> None:
    trainer = make_trainer(optimizer=optimizer, schedule="slanted", warmup=0.1, layer_decay=2.6, lr=0.01)
    trainer.take_step(next(iter(trainer.experiment.batches(0))))
    trainer.take_step(next(iter(trainer.experiment.batches(0))))
    rates = {id(each): group["lr"] for group in trainer.optimizer.param_groups for each in group["params"]}
    top = 0.01 * (1 + 1 / (0.1 * 3 * BATCHES) * 31) / 32  # the second step of 21
    for depth, part in enumerate(("output", "stack.cells.1", "stack.cells.0")):
        own = [rates[id(each)] for name, each in trainer.model.named_parameters() if name.startswith(f"{part}.")]
        assert own == pytest.approx([top / 2.6**depth] * len(own), rel=1e-12)
    assert trainer.progress.lr == pytest.approx(top)


def test_one_rate_leaves_the_groups_as_they_were() -> None:
    """A checkpoint keeps the optimizer's state in the order of the groups."""
    net = classifier()
    groups = make_optimizer(net, TrainingSettings()).param_groups
    matrices, vectors = ([each for each in net.parameters() if (each.dim() > 1) == is_matrix] for is_matrix in (1, 0))
    assert [[id(each) for each in group["params"]] for group in groups] == [
        [id(each) for each in part] for part in (matrices, vectors)
    ]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_frozen_weights_stay_to_the_bit_until_they_are_unfrozen(optimizer: str) -> None:
    """Epoch by epoch the output is trained, then the second layer too, then all."""
    trainer = make_trainer(optimizer=optimizer, unfreeze_every=1, weight_decay=0.1)

    def weights() -> dict[str, torch.Tensor]:
        return {name: each.detach().clone() for name, each in trainer.model.named_parameters()}

    for trained in (("output",), ("output", "stack.cells.1"), ("output", "stack.cells.1", "stack.cells.0")):
        before, epoch = weights(), trainer.progress.epoch
        for batch in trainer.experiment.batches(epoch):
            trainer.take_step(batch)
        changed = {name for name, value in weights().items() if not torch.equal(value, before[name])}
        assert changed == {name for name in before if name.startswith(trained)}
        trainer.progress.epoch += 1
    assert all(each.requires_grad for each in trainer.trainable)


def test_restart_keeps_frozen_layers_in_the_optimizer() -> None:
    trainer = make_trainer(unfreeze_every=1, layer_decay=2.0)
    learning: list[bool] = []

    def reset() -> None:
        learning.extend(each.requires_grad for each in trainer.trainable)

    trainer.experiment = replace(
        trainer.experiment, hopeless=lambda _, steps: trainer.progress.restarts < 2, reset=reset
    )
    factors = [group["lr_factor"] for group in trainer.optimizer.param_groups]
    before = [each.detach().clone() for each in trainer.trainable]
    train(trainer)
    assert trainer.progress.restarts == 2
    assert all(learning)
    assert [group["lr_factor"] for group in trainer.optimizer.param_groups] == factors
    assert not any(map(torch.equal, before, trainer.trainable))


def test_several_epochs_per_layer_and_untrainable_weights() -> None:
    trainer = make_trainer(unfreeze_every=2)
    assert trainer.unfreezing is not None
    cell: Any = trainer.model.stack.cells[0]
    cell.h0.requires_grad_(False)
    trainer.unfreezing.layers = layers_of(trainer.model)
    for epoch, depth in ((0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (9, 3), (0, 1)):
        trainer.unfreezing.begin(epoch)
        frozen = {name for name, each in trainer.model.named_parameters() if not each.requires_grad}
        parts = ("stack.cells.0", "stack.cells.1", "output")[: 3 - depth]
        assert frozen == {name for name, _ in trainer.model.named_parameters() if name.startswith(parts)} | {
            "stack.cells.0.h0"
        }


def test_net_without_layers_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^Linear declares no layers .*: leave --layer-decay and --unfreeze"):
        make_optimizer(nn.Linear(2, 2), TrainingSettings(layer_decay=2.0))
