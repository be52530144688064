"""Starting `rnn` in a process of its own."""

import signal
from pathlib import Path


def heed_interrupts() -> None:
    """Let a child heed Ctrl-C: a shell starts what runs in its background with interrupts ignored, tests as well."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def commands_path() -> Path:
    """The program that torchrun starts in tests."""
    return Path(__file__).with_name("commands.py")
