"""`--preset book` has the values that the book states, field by field, independent of a task's defaults."""

from dataclasses import fields

import pytest

from rnncli.api import Training
from rnncli.errors import RnnError
from rnncli.presets import remarks_on, resolve
from rnncli.tasks import TASKS

EVERYWHERE = {
    # chapter 1: initial states are trainable; chapter 2: `init_weight`, zeros for biases and states
    "learn_h0": True,
    "init": "book",
    "layer_dropout": 0.0,
    "block": "none",
    # chapters 2, 4 and 6: updates with momentum 0.99 after each sequence; the argument `reg` of `fit` is unused
    "optimizer": "sgd",
    "momentum": 0.99,
    "batch_size": 1,
    "accumulate": 1,
    "weight_decay": 0.0,
    "average": 0.0,
    "layer_decay": 1.0,
    "unfreeze_every": 0,
    # chapter 1 describes clipping and truncation; no script uses them
    "clip": 0.0,
    "bptt": 0,
    # validation after each epoch; no early stopping
    "validate_every": 0,
    "patience": 0,
}
WORDS = {
    "embedding": 30,
    "hidden": "30",
    "activation": "relu",
    "schedule": "constant",
    "tied": False,  # We and Wo are two matrices
    "spelling": 0,
    "softmax": "full",
    "word_dropout": 0.0,
    "embedding_dropout": 0.0,
    "output_dropout": 0.0,
    "weight_drop": 0.0,
    "activation_penalty": 0.0,
    "change_penalty": 0.0,
    "label_smoothing": 0.0,
}
STATED = {
    # chapter 2, The Parity Problem: `parity(B=12)`, SimpleRNN(4), sigmoid, `fit`'s 10e-5 and 200 epochs
    "parity": {
        **EVERYWHERE,
        "bits": 12,
        "zero": 0,
        "model": "rnn",
        "cell": "elman",
        "hidden": "4",
        "activation": "sigmoid",
        "lr": 1e-4,
        "schedule": "constant",
        "epochs": 200,
        "patience_steps": 0,
    },
    # chapter 4, Generating Poetry Code: SimpleRNN(30, 30, V), relu, 10e-5, 2000 epochs, all words, all lines
    "poetry-lm": {
        **EVERYWHERE,
        **WORDS,
        "tokens": "words",
        "cell": "elman",
        "lr": 1e-4,
        "epochs": 2000,
        "min_count": 1,
        "hold_out": 0,
        "hold_out_every": 0,
        "hold_out_count": 0,
    },
    # chapter 4, Classifying Poetry Code: tags, 500 lines of each poet, ten held out, 10e-7, times 0.9999 every epoch
    "poetry-classify": {
        **EVERYWHERE,
        "features": ("tags",),
        "cell": "elman",
        "hidden": "30",
        "activation": "relu",
        "bidirectional": False,
        "bag": False,
        "pooling": "last",
        "ensemble": 1,
        "word_dropout": 0.0,
        "input_dropout": 0.0,
        "output_dropout": 0.0,
        "label_smoothing": 0.0,
        "class_weights": False,
        "distinct": False,
        "samples_per_class": 500,
        "group": "line",
        "folds": 0,
        "hold_out": 0,
        "hold_out_every": 0,
        "hold_out_count": 10,
        "lr": 1e-6,
        "schedule": "exponential",
        "decay": 0.9999,
        "epochs": 1000,
    },
    # chapter 6, Learning from Wikipedia Data: GRU(30, 30, relu), 2000 words, 10e-6, 10 epochs, END in 1 of 100
    "wiki-lm": {
        **EVERYWHERE,
        **WORDS,
        "cell": "gru:reset-before",
        "lr": 1e-5,
        "epochs": 10,
        "running": False,
        "vocab_size": 2000,
        "min_count": 1,
        "keep_words": ("king", "queen", "man", "woman"),
        "longest": 5000,  # the maximum: no sentence is cut
        "end_share": 0.01,
        "unit_vectors": "matrix",
    },
}
UNSTATED = {
    # where and how long to train; settings that SGD at a constant rate does not use
    *(
        "seed",
        "device",
        "backend",
        "precision",
        "recompute",
        "graphs",
        "save_every",
        "max_time",
        "beta1",
        "beta2",
        "warmup",
        "lr_ratio",
        "decay",
    ),
    # texts, other sources of weights and vectors, voices
    *("corpus", "valid", "tokens", "init_from", "embeddings", "freeze_embeddings", "voices"),
    # tables, words and spellings, which the book's classifier does not read
    *(
        "text_column",
        "label_column",
        "header",
        "separator",
        "quoting",
        "word_size",
        "char_size",
        "char_ngrams",
        "char_dropout",
    ),
}
"""Settings that the book does not mention, or that have no effect with its values."""


def test_every_preset_has_the_values_of_the_book() -> None:
    assert {name: task.presets["book"] for name, task in TASKS.items() if "book" in task.presets} == STATED


@pytest.mark.parametrize("name", STATED)
def test_presets_leave_no_value_of_the_book_to_a_default(name: str) -> None:
    settings = resolve(TASKS[name], {}, "book")
    assert {field: getattr(settings, field) for field in STATED[name]} == STATED[name]
    left = {field.name for field in fields(settings)} - set(STATED[name]) - UNSTATED
    assert left <= ({"min_count"} if name == "poetry-classify" else set())  # all tags are known


@pytest.mark.slow
def test_expectation_of_an_unchanged_preset_is_printed(rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise RnnError("enough")

    monkeypatch.setattr(Training, "train", stop)
    told = rnn("train parity --preset book --seed 3").err.splitlines()
    assert told[2].startswith("the book's settings: accuracy stays at .5 for 51 to 93 epochs, then rises to 1")
    task = TASKS["parity"]
    assert remarks_on(task, resolve(task, {"seed": 3}, "book"), "book") == [told[2]]
    assert remarks_on(task, resolve(task, {"lr": 0.01}, "book"), "book") == []
    assert remarks_on(task, resolve(task, {}), None) == []
