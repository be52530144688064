"""Errors and warnings for users; the command line prints each in one line, and exits with an error's code."""

import signal
import warnings


class RnnError(Exception):
    """A failure that the user can fix; its text is one line: what, where, what to do."""

    exit_code = 1


class UsageError(RnnError):
    """An invalid command or value."""

    exit_code = 2


class RnnWarning(UserWarning):
    """A warning about work that continues: a damaged checkpoint was skipped, or a name is ambiguous."""


def warn(text: str) -> None:
    """Issue an RnnWarning that points to the calling line outside of this package."""
    from inspect import currentframe  # imported here, since it loads a dozen modules

    level, frame = 1, currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("rnncli."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, RnnWarning, stacklevel=level)


def ending_signals() -> list[int]:
    """The signals of this system that ask a process to end, such as Ctrl-C, and Ctrl-Break on Windows."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


class Interrupted(RnnError):
    """A signal ended the work; the text says how to continue."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
