"""Ctrl-C, SIGTERM and a closed terminal during training: the first requests a clean end, a second ends at once."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rnncli.errors import ending_signals

REPEATED = 0.5
"""Seconds within which a repeated signal counts once: a wrapper may forward the signal that the terminal also sent."""


class Interrupts:
    """Records the first signal."""

    received: int = 0
    at: float = 0.0

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal: record the first one, obey a second one at once."""
        if number == self.received and time.monotonic() - self.at < REPEATED:
            return
        if self.received:
            os._exit(128 + number)  # every save is atomic: nothing can be left half-written
        self.received, self.at = number, time.monotonic()


@contextmanager
def noted_interrupts() -> Iterator[Interrupts]:
    """Record ending signals instead of obeying them while inside; signals that are ignored (nohup) stay ignored.

    Signals only reach the main thread: elsewhere none can arrive.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.getsignal(number) for number in ending_signals()}
    noted = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in noted:
        signal.signal(number, interrupts.note)
    try:
        yield interrupts
    finally:
        for number, handler in noted.items():
            signal.signal(number, handler)
