"""Optional libraries: import them, or report the extra that installs them."""

from importlib import import_module, util
from typing import Any

from rnncli.errors import RnnError


def need(*modules: str, what: str, extra: str, package: str = "rnncli", otherwise: str = "") -> Any:
    """Import modules that `package[extra]` installs and `what` needs; returns the first.

    Raises RnnError with the text of `missing` if one is not installed.
    """
    try:
        imported = [import_module(module) for module in modules]
    except ModuleNotFoundError as error:
        name = (error.name or modules[0]).partition(".")[0]
        raise RnnError(missing(name, what=what, extra=extra, package=package) + otherwise) from None
    return imported[0]


def missing(library: str, *, what: str, extra: str, package: str = "rnncli") -> str:
    """The error line for a missing library: what needs it, and how to install it."""
    return f"{what} needs {library}, which is not installed: pip install '{package}[{extra}]'"


def installed(*modules: str) -> bool:
    """Whether all these modules are installed; imports none."""
    return all(util.find_spec(module) is not None for module in modules)
