"""`rnn version`: print the version."""

from rnncli.cli.screen import print_text
from rnncli.cli.verb import Verb
from rnncli.version import __version__


def version() -> None:
    """Print the version."""
    print_text(f"rnn {__version__}")


VERB = Verb(version, "rnn version")
