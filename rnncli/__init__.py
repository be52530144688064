"""Train, use and explain recurrent networks on text: `rnn` on the command line, `rnncli.train` in Python.

`__init__.pyi` has the types of what this module exports.
"""

from importlib import import_module

from rnncli.version import __version__

EXPORTS = {
    "Classified": "results",
    "ComparisonResult": "library",
    "Evaluation": "results",
    "Event": "training.loop",
    "History": "analysis.history",
    "Model": "api",
    "Recording": "recording",
    "Restarted": "training.loop",
    "RnnError": "errors",
    "RnnWarning": "errors",
    "Run": "library",
    "Scored": "language.score",
    "Stepped": "training.loop",
    "Tagged": "results",
    "Translation": "results",
    "UsageError": "errors",
    "Validated": "training.loop",
    "WordVectors": "data.vectors",
    "Written": "language.generate",
    "add_corpus": "library",
    "compare": "library",
    "get_data": "library",
    "list_runs": "library",
    "load": "api",
    "train": "library",
}
"""The exported names, and the modules that have them: imported when first used, since torch takes a second."""

__all__ = ["__version__", *EXPORTS]


def __getattr__(name: str) -> object:
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"rnncli.{EXPORTS[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
