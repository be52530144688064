"""The public names: all exported and typed without Any, light to import, and their generated types up to date."""

import dataclasses
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, get_args, get_type_hints, is_typeddict

import pytest
from support.option_types import train_name, written

import rnncli
from rnncli import library, options
from rnncli.tasks import OUTLINES, TASKS

PACKAGE = Path(rnncli.__file__).parent


def test_every_name_is_exported_and_found() -> None:
    assert sorted(rnncli.__all__) == sorted(set(rnncli.__all__))
    assert set(rnncli.__all__) <= set(dir(rnncli))
    for name in rnncli.__all__:
        assert getattr(rnncli, name) is not None
        if name != "__version__":
            assert inspect.getdoc(getattr(rnncli, name))
    with pytest.raises(AttributeError, match="module 'rnncli' has no attribute 'lode'"):
        rnncli.lode  # type: ignore[attr-defined]  # noqa: B018


def test_import_is_light() -> None:
    heavy = ("torch", "numpy", "matplotlib", "typer", "asyncio")
    code = f"import sys, rnncli; dir(rnncli); print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout == "[]\n"


def test_generated_types_are_up_to_date() -> None:
    for path, text in written().items():
        assert path.read_text("utf-8") == text, "run `make types`"
    assert (PACKAGE / "py.typed").exists()


def functions(thing: Any) -> Iterator[Callable[..., Any]]:
    """The public functions of an exported object: itself, or the methods and properties of a class of ours."""
    if isinstance(thing, FunctionType):
        yield thing
    elif isinstance(thing, type):
        for each in thing.__mro__:
            if each.__module__.startswith("rnncli."):
                for name, value in vars(each).items():
                    method = getattr(value, "fget", None) or getattr(value, "func", None) or value
                    if isinstance(method, FunctionType) and not name.startswith("_") and name == method.__name__:
                        yield method


def mentions_any(hint: Any) -> bool:
    """Whether Any occurs in a type, also in a dictionary that it unpacks."""
    if is_typeddict(hint):
        return any(map(mentions_any, get_type_hints(hint).values()))
    return hint is Any or any(map(mentions_any, get_args(hint)))


# What tasks and verbs use, whose types depend on the task; none of them is in the documentation of the library.
INTERNAL = {
    "Model": {"action", "codec", "payload", "check_readable", "reading_again", "check_unchanged", "check_loss"},
    "Run": {"read", "write_metrics", "append_metrics"},
    "Written": {"facts"},
    "Recording": set[str](),
}


@pytest.mark.parametrize("name", sorted({*rnncli.EXPORTS} - {"Event", "RnnError", "RnnWarning", "UsageError"}))
def test_public_signatures_have_no_any(name: str) -> None:
    thing = getattr(rnncli, name)
    found = [each for each in functions(thing) if each.__name__ not in INTERNAL.get(name, ())]
    assert found or isinstance(thing, type)
    for each in found:
        hints = get_type_hints(each, {**vars(sys.modules[each.__module__]), **LAZY})
        assert set(inspect.signature(each).parameters) - {"self", "cls"} <= hints.keys(), each
        assert "return" in hints, each
        assert not [part for part, hint in hints.items() if mentions_any(hint)], each


class Lazy:
    """Stands for a class of another library that is imported only when it is used."""


LAZY = {"Figure": Lazy, "Matrix": Lazy, "Exported": Lazy}


def test_every_option_of_a_task_is_typed() -> None:
    for task in OUTLINES:
        typed = get_type_hints(getattr(options, train_name(task)))
        declared = {each.name for each in dataclasses.fields(TASKS[task].Config) if "help" in each.metadata}
        assert set(typed) == declared
        named = set(inspect.signature(library.train).parameters) | set(inspect.signature(library.compare).parameters)
        assert not declared & named, "an option has the name of a parameter"


USER = """
import matplotlib.figure
import rnncli

def stop(event: rnncli.Event) -> bool:
    return isinstance(event, rnncli.Validated) and event.metrics["loss"] < 1.2

model = rnncli.train("char-lm", corpus="mine.txt", hidden=256, callbacks=[stop, print])
figure: matplotlib.figure.Figure = model.history.plot()
pairs = [("a line", "frost"), ("another", "poe")]
for each in rnncli.train("poetry-classify", corpus=pairs, hidden=(8, 4), preset="tags").classify(["a line"]):
    print(each.label, round(each.probability, 2))
print(round(model.evaluate(corpus="other.txt")["perplexity"], 1), model.generate(length=20, seed=1).texts[0].upper())
rnncli.compare("parity", cells=["elman", "gru"], sizes=[4, 8], bits=8).rows[0].mean
"""

WRONG = {
    'rnncli.train("char-lm", hiden=256)': "call-overload",
    'rnncli.train("char-lm", epochs="3")': "call-overload",
    'rnncli.train("tag", device="gpu")': "call-overload",
    'rnncli.train("tag", bptt="x")': "call-overload",
    'rnncli.train("translate", preset="book")': "call-overload",
    'rnncli.load("mine").generate(lenght=3)': "call-arg",
    'rnncli.load("mine").score(3)': "arg-type",
    'rnncli.lode("mine")': "attr-defined",
}


@pytest.mark.slow
def test_type_checker_accepts_a_users_file_and_finds_its_mistakes(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(USER, encoding="utf-8")
    (tmp_path / "wrong.py").write_text("import rnncli\n" + "\n".join(WRONG) + "\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "right.py", "wrong.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},  # mypy does not follow editable installs
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    lines = [line for line in done.stdout.splitlines() if ": error:" in line]
    expected = [(f"wrong.py:{number}", f"[{code}]") for number, code in enumerate(WRONG.values(), 2)]
    assert [(line.partition(": error:")[0], line.split()[-1]) for line in lines] == expected
