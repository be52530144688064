"""Starting `rnn` in a process of its own."""

import signal
from pathlib import Path


def heed_interrupts() -> None:
    """Let a child heed Ctrl-C and the end of its terminal, which a shell's background, or `nohup`, has it ignore."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def commands_path() -> Path:
    """The program that torchrun starts in tests."""
    return Path(__file__).with_name("commands.py")
