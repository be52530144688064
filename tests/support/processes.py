"""Starting `rnn` in a separate process."""

import signal
from pathlib import Path

PATIENCE = 300
"""Seconds that a test waits for a process, which only a fault exceeds: machines differ, and other work slows them."""


def heed_interrupts() -> None:
    """Make a child obey Ctrl-C and the end of its terminal, which background jobs and `nohup` ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def commands_path() -> Path:
    """The program that torchrun starts in tests."""
    return Path(__file__).with_name("commands.py")
