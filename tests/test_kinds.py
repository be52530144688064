"""Kinds of values: which values have a type, the type in words, and wrong arguments of the library in one sentence."""

from collections.abc import Callable, Iterable, Sequence
from inspect import isfunction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import rnncli
from rnncli.api import make_options
from rnncli.errors import UsageError
from rnncli.kinds import as_kind, checked, has_kind, in_words, plain_value
from rnncli.language.generate import WritingOptions
from rnncli.language.score import ScoreOptions
from rnncli.nn import GRU, LSTM, Recurrent
from rnncli.testing import check_cell

KINDS: list[tuple[Any, str, list[Any], list[Any]]] = [
    (bool, "true or false", [True], [1, None, "yes"]),
    (int, "a whole number", [3, np.int64(3), -(10**400)], [True, 3.0, "3"]),
    (float, "a number", [3, 3.5, np.float32(3)], [False, "3", 10**400]),
    (str | None, "text or None", ["", None], [b"a", ["a"], 3]),
    (str | Path | int, "text, a path or a whole number", ["a", Path("a"), 1], [1.5]),
    (Sequence[int | str], "a list of whole numbers or texts", [[], (1, "a"), np.array([1])], ["12", 1, [1.5], {1: 2}]),
    (Sequence[Sequence[int]], "a list of lists of whole numbers", [[[1], [2]]], [[1], ["1"]]),
    (Iterable[Callable[[int], int]], "a list of functions", [(print, len), iter([print])], [print, "print", [3]]),
    (tuple[str, ...], "a list of texts", [("a", "b")], [["a"], ("a", None)]),
    (Literal["a", "b"], "one of a, b", ["a"], ["c", 3]),
    (type[int], "a class", [int, str], [3]),
    (rnncli.Run, "a Run", [rnncli.Run(Path("task/name"))], ["task/name"]),
    (object, "a object", [True], []),
    (Any, "a Any", [3], []),
]


def test_values_have_the_kinds_that_words_name() -> None:
    for kind, words, right, wrong in KINDS:
        assert in_words(kind) == words
        assert [has_kind(value, kind) for value in right] == [True] * len(right), words
        assert [has_kind(value, kind) for value in wrong] == [False] * len(wrong), words


def test_plain_values_become_those_of_a_field() -> None:
    assert plain_value((np.int64(2), np.float64(0.5), Path("a"), True, [b"c"])) == [2, 0.5, "a", True, [b"c"]]
    assert [type(value) for value in plain_value(np.array([1, 2]))] == [int, int]
    assert repr(as_kind(2, float, "x")) == "2.0"
    assert as_kind(None, str | None, "x") is None
    assert as_kind("a", tuple[str, ...], "x") == ("a",)
    assert as_kind(["a", "b"], tuple[str, ...], "x") == ("a", "b")
    with pytest.raises(UsageError, match=r"x must be a whole number, not None$"):
        as_kind(None, int, "x")
    with pytest.raises(UsageError, match=r"x must be text, not '?a?…?") as error:
        as_kind(["\n" * 100_000], str | None, "x")
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 120


def test_arguments_are_checked_and_pass_through() -> None:
    @checked
    def function(number: int, *names: str, last: float = 1.0, **more: str) -> tuple[object, ...]:
        return number, names, last, more

    assert function(1, "a", last=2, other=3) == (1, ("a",), 2, {"other": 3})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^function: names must be text, not 2$"):
        function(1, "a", 2)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'number'"):
        function()  # type: ignore[call-arg]


WRONG: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any], str]] = [
    (rnncli.train, (None,), {}, "train: task must be text or a Task, not None"),
    (rnncli.train, ("parity",), {"name": 3}, "train: name must be text or None, not 3"),
    (rnncli.train, ("parity",), {"config": {}}, "train: config must be text, a path or None, not {}"),
    (rnncli.train, ("parity",), {"callbacks": [3]}, r"train: callbacks must be a list of functions, not \[3\]"),
    (rnncli.train, ("parity",), {"resume": "no"}, "train: resume must be true or false, not 'no'"),
    (rnncli.train, ("parity",), {"hidden": 4.5}, "option hidden must be a whole number, text or a list of .*, not 4.5"),
    (rnncli.train, ("char-lm",), {"corpus": b"x"}, "a corpus is a name, a path or an iterable of .*, not bytes"),
    (
        rnncli.compare,
        ("parity",),
        {"cells": [3]},
        r"compare: cells must be a list of texts or classes or None, not \[3\]",
    ),
    (rnncli.compare, ("parity",), {"seeds": 0}, "--seeds must be at least 1, not 0"),
    (rnncli.compare, ("parity",), {"goal": "x"}, "compare: goal must be a number or None, not 'x'"),
    (rnncli.load, (3,), {}, "load: source must be text, a path, a Run or None, not 3"),
    (rnncli.list_runs, (3,), {}, "list_runs: task must be text or None, not 3"),
    (rnncli.get_data, ("hillside", ["frost"]), {}, r"get_data: names must be text, not \['frost'\]"),
    (rnncli.add_corpus, (3,), {}, "a corpus is a name, a path or an iterable of texts or pairs, not int"),
    (make_options, (WritingOptions, {"length": 2.5}), {}, "option length must be a whole number, not 2.5"),
    (make_options, (WritingOptions, {"listen": 3}), {}, "option listen must be a function, not 3"),
    (make_options, (ScoreOptions, {"texts": [3]}), {}, r"option texts must be a list of texts, not \[3\]"),
    (make_options, (ScoreOptions, {"texts": b"x"}), {}, "option texts must be a list of texts, not b'x'"),
]


def test_wrong_arguments_are_named_in_one_sentence(home: Path) -> None:
    for function, given, named, message in WRONG:
        with pytest.raises(UsageError, match=f"^{message}$"):
            function(*given, **named)
    assert rnncli.list_runs() == []


def test_every_public_function_checks_its_arguments() -> None:
    functions = {name for name in rnncli.__all__ if isfunction(getattr(rnncli, name))}
    own_check = {"add_corpus"}  # says what a corpus is
    assert {name for name in functions if hasattr(getattr(rnncli, name), "__wrapped__")} == functions - own_check


def test_none_stands_for_the_default() -> None:
    assert make_options(WritingOptions, {"length": None, "seed": None}) == WritingOptions()


def test_wrong_arguments_of_layers_are_named() -> None:
    x = torch.zeros(3, 1, 2)
    wrong: dict[str, Callable[[], object]] = {
        "GRU: the input must be a tensor or a PackedSequence, not a ndarray": lambda: GRU(2, 2)(x.numpy()),
        "GRU: the first state must be one tensor": lambda: GRU(2, 2)(x, 3),  # type: ignore[arg-type]
        r"LSTM: the first state must be a tuple \(h, c\)": lambda: LSTM(2, 2)(x, (None, None)),
        "GRU: weight_drop must be a number, not 'x'": lambda: GRU(2, 2, weight_drop="x"),  # type: ignore[arg-type]
        "a cell must be text or a class, not 3": lambda: Recurrent(3, 2, 2),  # type: ignore[arg-type]
        "a cell must be text or a class, not None": lambda: check_cell(None),  # type: ignore[arg-type]
    }
    for message, call in wrong.items():
        with pytest.raises(UsageError, match=f"^{message}$"):
            call()
