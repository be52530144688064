"""Writes `rnncli/options.py` and `rnncli/__init__.pyi`, which give editors and type checkers the options of each task.

After a change of settings, of options or of the exported names: `make types`.
"""

import ast
import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import fill, indent
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import rnncli
from rnncli.plugins import Registry
from rnncli.tasks import OUTLINES, TASKS

PACKAGE = Path(rnncli.__file__).parent

VERBS = ("generate", "score", "classify", "tag", "translate", "activations", "evaluate")
"""The verbs that are methods of a model."""

PATHS = {"source", "target", "valid_source", "valid_target", "embeddings", "init_from", "file", "out"}
"""Options that are paths."""

POSITIONAL = {"texts", "text"}
"""Options that the methods take as their argument."""

HEAD = '''"""The options of `rnncli.train` and of a model's methods, as types: tests/support/option_types.py."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypedDict

from torch import nn

from rnncli.data.from_python import CorpusLike
from rnncli.language.generate import DrawnToken
'''

STUB = '''"""Train, use and explain recurrent networks on text: tests/support/option_types.py writes this file."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Unpack, overload

from torch import nn

from rnncli.library import Callback, Option
from rnncli.options import {dictionaries}
from rnncli.task import Task
from rnncli.version import __version__ as __version__
'''


def kind_of(field: "dataclasses.Field[Any]", hint: Any) -> str:
    """The type of an option as Python code may give it."""
    special = {
        "corpus": "CorpusLike",
        "valid": "CorpusLike",
        "hidden": "int | str | Sequence[int]",
        "cell": "str | type[nn.Module]",
        "listen": "Callable[[DrawnToken], None] | None",
    }
    if field.name in special:
        return special[field.name]
    if hint == tuple[str, ...]:
        return "str | Sequence[str]"
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    choices = field.metadata.get("choices")
    closed = choices is not None and not isinstance(choices, Registry)
    names = [
        f"Literal[{', '.join(map(repr, choices))}]" if part is str and closed else part.__name__
        for part in parts
        if part is not NoneType
    ]
    names += ["Path"] * (field.name in PATHS)
    names += ["bool"] * ("switch" in field.metadata) + ["None"] * (NoneType in parts)
    return " | ".join(names)


def documented(text: str, width: int = 112) -> str:
    """A docstring of one or more lines."""
    text = text.replace("\\", "\\\\")
    return f'"""{text}"""' if len(text) <= width - 6 else f'"""{fill(text, width)}\n"""'


def help_of(field: "dataclasses.Field[Any]") -> str:
    """The help of an option, with its default."""
    text = field.metadata.get("help", "Called with each token as it is drawn.")
    shown = "" if field.default in (None, (), "") else f" (default: {field.default!r})"
    return f"{text}{shown}"


def typed_dict(name: str, bases: Iterable[str], about: str, options: Mapping[str, tuple[str, str]]) -> str:
    """The source of a TypedDict: option -> its type and its help."""
    body = "".join(f"    {key}: {kind}\n{indent(documented(text), '    ')}\n" for key, (kind, text) in options.items())
    return f"\n\nclass {name}({', '.join(bases)}, total=False):\n    {documented(about)}\n\n{body or ''}"


def options_of(Settings: type, names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Some options of a class of settings: their types and helps."""
    hints = get_type_hints(Settings)
    fields = {each.name: each for each in dataclasses.fields(Settings)}
    chosen = [fields[name] for name in names if name in fields]
    return {each.name: (kind_of(each, hints[each.name]), help_of(each)) for each in chosen}


def train_name(task: str) -> str:
    """The name of the TypedDict of a task."""
    return "Train" + "".join(map(str.capitalize, task.split("-")))


def settings_dictionaries() -> Iterator[str]:
    """A TypedDict per class of settings, the general ones first, then one per task."""
    names: dict[type, str] = {}
    configs = {TASKS[task].Config: task for task in OUTLINES}
    for Config in configs:
        for each in reversed(Config.__mro__):
            if not dataclasses.is_dataclass(each) or each in names:
                continue
            own = inspect.get_annotations(each)
            task = configs.get(each)
            names[each] = train_name(task) if task else each.__name__.replace("Settings", "Options")
            bases = [names[base] for base in each.__bases__ if base in names] or ["TypedDict"]
            about = f"Options of `rnncli.train({task!r})`." if task else (each.__doc__ or "").split("\n")[0]
            yield typed_dict(names[each], bases, about, options_of(each, own))


def verb_dictionaries() -> Iterator[str]:
    """A TypedDict per verb, with the options of all tasks that have it."""
    for verb in VERBS:
        found: dict[str, tuple[str, str]] = {}
        for task in OUTLINES:
            if action := TASKS[task].actions.get(verb):
                names = [each.name for each in dataclasses.fields(action.Options) if each.name not in POSITIONAL]
                found = options_of(action.Options, names) | found
        yield typed_dict(f"{verb.capitalize()}Options", ["TypedDict"], f"Options of `Model.{verb}`.", found)


def overloads(name: str) -> Iterator[str]:
    """An overload of a function of `library.py` per task, and one for a task of another package."""
    module = ast.parse((PACKAGE / "library.py").read_text("utf-8"))
    function = next(each for each in module.body if isinstance(each, ast.FunctionDef) and each.name == name)
    doc = ast.get_docstring(function, clean=False) or ""
    for task in (*OUTLINES, None):
        presets = ", ".join(map(repr, TASKS[task].presets)) if task else ""
        kinds = {
            "task": f"Literal[{task!r}]" if task else "Task",
            "preset": f"Literal[{presets}] | None" if presets else "None" if task else "str | None",
            "options": f"Unpack[{train_name(task)}]" if task else "Option",
        }
        arguments = function.args
        assert arguments.kwarg is not None
        for argument in (*arguments.posonlyargs, *arguments.kwonlyargs, arguments.kwarg):
            if argument.arg in kinds:
                argument.annotation = ast.parse(kinds[argument.arg], mode="eval").body
        assert function.returns is not None
        yield f'''
@overload
def {name}({ast.unparse(arguments)}) -> {ast.unparse(function.returns)}:
    """{doc}"""
'''


def formatted(source: str, name: str) -> str:
    """Source as ruff formats it."""
    for words in (["check", "--select", "I,RUF022", "--fix", "--quiet"], ["format"]):
        command = [sys.executable, "-m", "ruff", *words, "--stdin-filename", str(PACKAGE / name), "-"]
        done = subprocess.run(command, input=source, stdout=subprocess.PIPE, text=True, check=True, encoding="utf-8")
        source = done.stdout
    return source


def written() -> dict[Path, str]:
    """The files, with their contents."""
    options = HEAD + "".join(settings_dictionaries()) + "".join(verb_dictionaries())
    dictionaries = ", ".join(sorted(map(train_name, OUTLINES)))
    exports = "".join(
        f"from rnncli.{module} import {name} as {name}\n"
        for name, module in rnncli.EXPORTS.items()
        if name not in ("train", "compare")
    )
    functions = "".join([*overloads("train"), *overloads("compare")])
    names = "".join(f"    {name!r},\n" for name in rnncli.__all__)
    stub = STUB.format(dictionaries=dictionaries) + exports + f"\n__all__ = [\n{names}]\n" + functions
    return {
        PACKAGE / "options.py": formatted(options, "options.py"),
        PACKAGE / "__init__.pyi": formatted(stub, "__init__.pyi"),
    }


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
