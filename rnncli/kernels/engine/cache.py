"""Generated source on disk, where numba keeps compiled code next to it, and notes on graphs that have been checked.

The folder is below the package's `__pycache__`, or the user's cache folder if that is not writable. A file's name has a
digest of everything that its compiled code depends on, so that processors, versions and processes never disturb each
other. If no folder is writable, code is compiled for this process only. Notes need no numba.
"""

import contextlib
import hashlib
import importlib.util
import linecache
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

from rnncli.errors import RnnError
from rnncli.files import write_file
from rnncli.version import __version__


def load_compiled(text: str) -> ModuleType:
    """The generated functions, to be compiled by numba when they are first called."""
    return _loaded(name_of(text), text)


def load_kernels(text: str) -> ModuleType:
    """The generated kernels, to be compiled by triton, which has a cache of its own."""
    return _loaded(f"rnncli_kernels_{_digest(text, __version__)}", text)


def name_of(text: str) -> str:
    """The name of the module of a generated text, on this machine."""
    return f"rnncli_generated_{_digest(text, _machine(), _helpers())}"


def is_known(*facts: str) -> bool:
    """Whether `note` has noted these facts, with the versions of today."""
    return any((folder / _note(facts)).exists() for folder in _folders())


def note(*facts: str) -> None:
    """Note facts, if some folder is writable."""
    _write(_note(facts), "")


def _loaded(name: str, text: str) -> ModuleType:
    if name not in sys.modules:
        sys.modules[name] = _module(name, text)
    return sys.modules[name]


def _module(name: str, text: str) -> ModuleType:
    file = _write(f"{name}.py", text)
    if file is None:
        module = ModuleType(name)
        linecache.cache[f"<{name}>"] = (len(text), None, text.splitlines(keepends=True), f"<{name}>")  # triton reads it
        exec(compile(text, f"<{name}>", "exec"), vars(module))
        return module
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # numba looks there for the functions of its cache
    spec.loader.exec_module(module)
    return module


def _write(name: str, text: str) -> Path | None:
    """The file of this name with this text, in the first folder that has it or takes it."""
    for folder in _folders():
        file = folder / name
        try:
            if not (file.exists() and file.read_text(encoding="utf-8") == text):
                write_file(file, text.encode())
        except (OSError, RnnError, UnicodeDecodeError):
            continue
        return file
    return None


def _folders() -> list[Path]:
    """Where files may lie, best first."""
    own = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME")
    found = [Path(__file__).parent / "__pycache__" / "generated"]
    with contextlib.suppress(RuntimeError):  # a user without a home
        found.append((Path(own) if own else Path.home() / ".cache") / "rnncli" / "kernels")
    return found


def _note(facts: tuple[str, ...]) -> str:
    return f"{_digest(*facts, __version__, torch.__version__, _engine())}.checked"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]


@cache
def _helpers() -> str:
    """A digest of the functions that generated code calls, which are compiled into it."""
    files = [Path(__file__).with_name(f"{name}.py") for name in ("functions", "scalars", "arithmetic", "blas")]
    return _digest(*(file.read_text(encoding="utf-8") for file in files))


@cache
def _engine() -> str:
    """A digest of the engine, which derives what has been checked."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return _digest(*(file.read_text(encoding="utf-8") for file in files))


@cache
def _machine() -> str:
    """What compiled code depends on: versions and the processor."""
    import numba
    from llvmlite import binding
    from numba import config

    processor = getattr(config, "CPU_NAME", None) or binding.get_host_cpu_name()
    return "\0".join((__version__, numba.__version__, processor, binding.get_host_cpu_features().flatten()))
