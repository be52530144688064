"""Starting `rnn` in a process of its own."""

import signal


def heed_interrupts() -> None:
    """Let a child heed Ctrl-C: a shell starts what runs in its background with interrupts ignored, tests as well."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
