"""Cells from outside: `PATH.py:Class[:variant]` or `package.module:Class[:variant]`.

Their code runs only where the user names it: `use_cell` runs it, and nothing else does. A checkpoint keeps the name of
its cell and the SHA-256 of the source, and `cell_again` decides whether the user has named that cell again.
"""

import hashlib
import shlex
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from rnncli.cells.registry import BUILT_IN, CELLS
from rnncli.errors import UsageError, warn
from rnncli.files import reason
from rnncli.kinds import check_kind
from rnncli.plugins import entries

if TYPE_CHECKING:
    from torch import nn

    from rnncli.cells.base import Cell


class OutsideCell(NamedTuple):
    """The name of a cell from outside, in its parts."""

    source: str  # a path that ends in .py, or the dotted name of a module
    name: str  # of the class
    variant: str = ""  # empty: the cell's first

    def __str__(self) -> str:
        return f"{self.source}:{self.label}"

    @property
    def label(self) -> str:
        """The name without its source."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    @property
    def is_file(self) -> bool:
        """Whether the source is a file, and not an importable module."""
        return self.source.endswith(".py")


def outside_cell(kind: str) -> OutsideCell | None:
    """Split the name of a cell from outside into its parts; None for a registered name, and for anything else."""
    path, mark, rest = kind.partition(".py:")
    source = f"{path}.py"
    if not (path and mark):
        source, _, rest = kind.partition(":")
        if not all(map(str.isidentifier, source.split("."))) or source in CELLS:
            return None
    name, _, variant = rest.partition(":")
    return OutsideCell(source, name, variant) if name.isidentifier() else None


def label_of(kind: str) -> str:
    """The name of a cell for tables and folders: that of a cell from outside is without its source."""
    found = outside_cell(kind)
    return found.label if found else kind


_LOADED: "dict[tuple[str, str], type[Cell[Any]]]" = {}
"""The classes whose code the user has named in this process, by source and name."""

_DIGESTS: dict[str, str] = {}
"""The SHA-256 of each file that was run as a module, by the module's name."""


def loaded(found: OutsideCell) -> "type[Cell[Any]]":
    """The class of a cell from outside; raises UsageError where the user has not named it in this process."""
    if (found.source, found.name) not in _LOADED:
        raise UsageError(f"the cell {found} is code from outside, which runs only if you name it: {_option(found)}")
    return _LOADED[found.source, found.name]


def use_cell(cell: "str | type[nn.Module]") -> str:
    """Load a cell that the user names, and return its name for settings; this runs its file, or imports its module.

    The name has an absolute path, so that it works in any folder. A registered name returns as it is. Raises UsageError
    for a source that cannot be run, and for a class that is not a cell.
    """
    check_kind(cell, str | type, "a cell")
    if isinstance(cell, type):
        kind = _checked(cell, cell.__module__)
        found = _place_of(kind)
        _LOADED[found.source, found.name] = kind
        return str(found)
    split = outside_cell(cell)
    if split is None:
        return cell
    found = split._replace(source=str(Path(split.source).absolute())) if split.is_file else split
    module = _run(Path(found.source)) if split.is_file else _import(found.source, cell)
    _LOADED[found.source, found.name] = _class_in(module, found.name, split.source)
    return str(found)


def _place_of(cell: "type[Cell[Any]]") -> OutsideCell:
    """The name of a class that Python code hands over: by its file if that was run as a program or by its path."""
    module = sys.modules.get(cell.__module__)
    file = getattr(module, "__file__", None) or ""
    by_path = cell.__module__ in (*_DIGESTS, "__main__") and file.endswith(".py")
    return OutsideCell(str(Path(file).absolute()) if by_path else cell.__module__, cell.__name__)


def _class_in(module: ModuleType, name: str, source: str) -> "type[Cell[Any]]":
    from difflib import get_close_matches

    from rnncli.cells.base import Cell

    own = [
        each
        for each, thing in vars(module).items()
        if isinstance(thing, type) and issubclass(thing, Cell) and thing.__module__ == module.__name__
    ]
    if not hasattr(module, name):
        close = get_close_matches(name, own, n=1, cutoff=0.0)
        hint = f"did you mean {source}:{close[0]}?" if close else "it defines no cell"
        raise UsageError(f"{source} has no {name}: {hint}")
    return _checked(getattr(module, name), source)


def _checked(thing: object, source: str) -> "type[Cell[Any]]":
    """A class, if it is a cell that can be built; raises UsageError."""
    from rnncli.cells.base import Cell

    if not (isinstance(thing, type) and issubclass(thing, Cell)):
        name = getattr(thing, "__name__", repr(thing))
        raise UsageError(f"{source}: {name} is not a cell: derive it from rnncli.cells.base.Cell")
    if isabstract(thing):
        raise UsageError(f"{source}: {thing.__name__} has no method `step`")
    return thing


def _import(name: str, cell: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failure(name, error) from error
        file = Path(f"{name.replace('.', '/')}.py")
        hint = f"did you mean {file}:{cell.partition(':')[2]}?" if file.is_file() else f"cells: {', '.join(BUILT_IN)}"
        raise UsageError(f"unknown cell {cell!r}: there is no cell and no module {name}; {hint}") from None
    except (Exception, SystemExit) as error:
        raise _failure(name, error) from error


def _run(path: Path) -> ModuleType:
    """Run a file as a module, once per content; modules next to it can be imported, after all others."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the cell's file {path}: {reason(error)}") from None
    digest = hashlib.sha256(source).hexdigest()
    place = hashlib.sha256(f"{path}\n{digest}".encode()).hexdigest()
    name = f"rnn_cell_{path.stem}_{place[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # under a stable name before it runs: numba and dataclasses look there
    sys.path.append(str(path.parent))
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), vars(module))  # the user named it
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failure(str(path), error) from error
    finally:
        sys.path.remove(str(path.parent))
    _DIGESTS[name] = digest
    return module


def _failure(source: str, error: BaseException) -> UsageError:
    """An error of a cell's code as one line: its place in that code, and its message."""
    return UsageError(f"{place_of_error(source, error)}: {type(error).__name__}: {error}")


def place_of_error(source: str, error: BaseException) -> str:
    """The file and the line that an error comes from: of the source, if it passed through that; never one of rnn."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    last = ([each for each in frames if each.filename == source] or frames)[-1]
    ours = Path(last.filename).is_relative_to(Path(__file__).parent.parent)
    return source if ours else f"{last.filename}:{last.lineno}"


def place_in_cells(error: BaseException) -> str:
    """The file and the line of a cell from outside that an error passed through; empty where it passed through none."""
    modules = [sys.modules.get(cell.__module__) for cell in _LOADED.values()]
    files = {getattr(module, "__file__", None) for module in modules}
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename in files]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def is_outside(cell: "type[Cell[Any]]") -> bool:
    """Whether a class is no part of rnn."""
    return not cell.__module__.startswith("rnncli.")


def digest_of(cell: "type[Cell[Any]]") -> str:
    """The SHA-256 of the file that defines a class; empty where there is none, as for one typed into a console."""
    if cell.__module__ in _DIGESTS:
        return _DIGESTS[cell.__module__]
    file = getattr(sys.modules.get(cell.__module__), "__file__", None)
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    except OSError:
        return ""


def kept_of(model: "nn.Module") -> dict[str, Any]:
    """The data of a cell from outside for a checkpoint: the name of its class, and the SHA-256 of its source."""
    from rnncli.cells.base import Cell

    classes = [type(each) for each in model.modules() if isinstance(each, Cell) and is_outside(type(each))]
    return {"cell": {"class": classes[0].__name__, "sha256": digest_of(classes[0])}} if classes else {}


def cell_again(kind: str, header: Mapping[str, Any], given: "str | type[nn.Module] | None", checkpoint: object) -> str:
    """The name of a checkpoint's cell, which the user has named in this process, or names by `given`.

    A changed source is an RnnWarning. Raises UsageError where the user has not named the code that it needs, for
    another class than the checkpoint's, and for a cell given with a checkpoint that needs none.
    """
    found, kept = outside_cell(kind), header.get("cell")
    kept = kept if isinstance(kept, Mapping) else {}
    if found is None and (kind.partition(":")[0] in CELLS or not kept):
        if given is not None:
            raise UsageError(f"{checkpoint} has the cell {kind}: leave --cell out")
        again = kind
    elif given is None:
        again = _already_named(kind, found, checkpoint)
    else:
        again = _renamed(use_cell(given), found, kept, checkpoint)
    _warn_of_change(again, kept, checkpoint)
    return again


def _already_named(kind: str, found: OutsideCell | None, checkpoint: object) -> str:
    if found is None:
        raise UsageError(
            f"{checkpoint} was trained with the cell {kind} of a package that is not installed: install it, or name "
            "the cell's code: --cell PATH.py:Class"
        )
    if any(entry.value == f"{found.source}:{found.name}" for entry in entries("rnncli.cells")):
        use_cell(str(found))
    if (found.source, found.name) not in _LOADED:
        raise UsageError(
            f"{checkpoint} was trained with a cell from outside, whose code runs only if you name it again: "
            f"{_option(found)}"
        )
    return kind


def _option(found: OutsideCell) -> str:
    return f"--cell {shlex.quote(str(found))} (in Python, cell={found.name})"


def _renamed(given: str, before: OutsideCell | None, kept: Mapping[str, Any], checkpoint: object) -> str:
    """The cell that the user names for a checkpoint, with the checkpoint's variant."""
    now = outside_cell(given)
    wanted = before.name if before else kept.get("class")
    if now is None or now.name != wanted:
        raise UsageError(f"{checkpoint} was trained with the cell {wanted}, not with {label_of(given)}")
    variant = before.variant if before else ""
    if now.variant not in ("", variant):
        raise UsageError(f"{checkpoint} was trained with the variant {variant or '(first)'}, not with {now.variant}")
    return str(now._replace(variant=variant))


def _warn_of_change(kind: str, kept: Mapping[str, Any], checkpoint: object) -> None:
    if not kept.get("sha256"):
        return
    found = outside_cell(kind)
    cell = loaded(found) if found else CELLS[kind.partition(":")[0]]
    if digest_of(cell) not in ("", kept["sha256"]):
        where = f"the source of the cell {label_of(kind)}"
        warn(f"{where} has changed since {checkpoint} was written: its results may differ")
