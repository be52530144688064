"""What the shell completes: choices, names of runs and corpora, and the files next to them."""

import os
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

Complete = Callable[[str], list[str]]
"""A function for Typer: the words that an incomplete word may become; without any, the shell completes files."""


def completion(choices: Collection[str] | Callable[[], Iterable[str]]) -> Complete:
    """Complete one of the choices, or one of the names that a function lists; a file may be given instead of a name."""

    def complete(incomplete: str) -> list[str]:
        names = sorted(each for each in (choices() if callable(choices) else choices) if each.startswith(incomplete))
        return names + (_files(incomplete) if callable(choices) and names else [])

    return complete


def run_names() -> list[str]:
    """The names of all runs."""
    from rnncli.training import runs

    return runs.run_names()


complete_run = completion(run_names)


def _files(incomplete: str) -> list[str]:
    """The files and folders here that begin so, without hidden ones; a folder ends in a slash."""
    folder = incomplete[: incomplete.rfind("/") + 1]
    with suppress(OSError), os.scandir(folder or ".") as entries:
        found = [(folder + entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
        return sorted(path + "/" * is_dir for path, is_dir in found if path.startswith(incomplete))
    return []
