"""Errors and warnings that a user can act on; the command line prints each in one line, and ends by an error's code."""

import signal
import warnings


class RnnError(Exception):
    """Something failed that the user can mend; its text is one line: what, where, what to do."""

    exit_code = 1


class UsageError(RnnError):
    """The command or a value given to it makes no sense."""

    exit_code = 2


class RnnWarning(UserWarning):
    """The work continues, but not quite as it seems: a damaged checkpoint was passed over, a name means two things."""


def warn(text: str) -> None:
    """Issue an RnnWarning at the line outside of this package that led to it."""
    from inspect import currentframe  # loads a dozen modules, which no other command needs

    level, frame = 1, currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("rnncli."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, RnnWarning, stacklevel=level)


def ending_signals() -> list[int]:
    """The signals that ask a process to end, of those that the system has: Ctrl-C, and Ctrl-Break on Windows."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


class Interrupted(RnnError):
    """A signal ended the work; its text says how to go on."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
