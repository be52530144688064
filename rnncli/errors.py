"""The errors that a user can mend; the command line turns each into one line and an exit code."""

import signal


class RnnError(Exception):
    """Something failed that the user can mend; its text is one line: what, where, what to do."""

    exit_code = 1


class UsageError(RnnError):
    """The command or a value given to it makes no sense."""

    exit_code = 2


def ending_signals() -> list[int]:
    """The signals that ask a process to end, of those that the system has: Ctrl-C, and Ctrl-Break on Windows."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


class Interrupted(RnnError):
    """A signal ended the work; its text says how to go on."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
