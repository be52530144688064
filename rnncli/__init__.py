"""Train, use and explain recurrent networks on text: `rnn` on the command line, `rnncli.load` in Python."""

from typing import TYPE_CHECKING, Any

from rnncli.version import __version__

__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from rnncli.api import load


def __getattr__(name: str) -> Any:
    if name == "load":  # imported when first used: it brings torch, and `rnn --help` must not wait for that
        from rnncli.api import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
