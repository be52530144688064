"""The errors that a user can mend; the command line turns each into one line and an exit code."""


class RnnError(Exception):
    """Something failed that the user can mend; its text is one line: what, where, what to do."""

    exit_code = 1


class UsageError(RnnError):
    """The command or a value given to it makes no sense."""

    exit_code = 2


class Interrupted(RnnError):
    """A signal ended the work; its text says how to go on."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
